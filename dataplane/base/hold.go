package base

import (
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// DNS answers wait in chains of their own, ahead of those that judge packets. A packet
// that a queue gives back goes on at the next chain of the hook: had it waited within one
// that judges, the rest of that would be left out.
//
// What waits is what answers a question: the reply direction of a connection that is
// known, or a packet that nobody tracks, as those of a cache on the node itself. That it
// comes from the server has been checked before, by the source guard where the server is
// a local pod.

// hold writes these chains.
func (b *builder) hold() {
	a := b.state.Answers
	if a == nil || b.opts.NoQueue {
		return
	}
	b.to = &b.tables.Mangle
	sort := func(pods bool) []Rule {
		var rules []Rule
		for _, p := range []model.Protocol{model.UDP, model.TCP} {
			tests := where(proto(p), port(SrcPorts, dataplane.AnswerPort))
			if pods {
				tests = append(tests, on(DstIn, Named))
			}
			rules = append(rules, Rule{If: tests, Then: Goto, Chain: "hold", Comment: "DNS answers"})
		}
		return rules
	}
	b.chain("hold", "DNS answers that wait, while somebody takes care of them",
		Rule{If: where(on(SrcIn, Servers), is(Holding), is(Reply)), Then: Queue},
		Rule{If: where(on(SrcIn, Servers), is(Holding), is(Untracked)), Then: Queue})
	if a.Host {
		b.hook(HoldInput, "hold-input", "DNS answers to the node itself", nil, sort(false)...)
	}
	b.hook(HoldForward, "hold-forward", "DNS answers to local pods", nil, sort(true)...)
	b.hook(HoldOutput, "hold-output", "DNS answers of the node to local pods, and what keeps answers waiting", nil, append(b.switches(), sort(true)...)...)
}

// switches are the rules for the datagrams that keep answers waiting, or end it.
func (b *builder) switches() []Rule {
	own := func(mark uint32) []Test {
		return where(proto(model.UDP), port(DstPorts, dataplane.AnswerPort), by(OutIs, "lo"), Test{Kind: MarkIs, Exactly: mark})
	}
	return []Rule{
		{If: own(dataplane.HoldMark), Then: Hold, Comment: "from now on answers wait"},
		{If: own(dataplane.ReleaseMark), Then: Release, Comment: "from now on answers do not wait"},
	}
}
