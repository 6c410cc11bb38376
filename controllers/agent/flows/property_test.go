package flows

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/worlds"
)

// answer is what verdict says of a flow, without what records leave out.
func answerOf(t *testing.T, d model.Decision) string {
	t.Helper()
	out := flows.Decided{Action: d.Action}
	strip := func(dir model.Direction) *model.Verdict {
		v, ok := d.Deciding(dir)
		if !ok {
			return nil
		}
		v.Endpoint = model.Ref{}
		if v.Audit != nil {
			a := *v.Audit
			a.Endpoint, a.Audit = model.Ref{}, nil
			v.Audit = &a
		}
		return &v
	}
	out.Egress, out.Ingress = strip(model.Egress), strip(model.Ingress)
	return textOf(t, &out)
}

func textOf(t *testing.T, d *flows.Decided) string {
	t.Helper()
	c := *d
	c.Generation = 0
	b, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDecidedAsVerdict records random connections in random worlds that change, and holds
// that each is in the records once, with the answer that package verdict gives for it at
// the generation in which it began; and where a change was under way, with both answers.
func TestDecidedAsVerdict(t *testing.T) {
	for _, seed := range worlds.Seeds(t, 60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			f := worlds.New(seed, worlds.Options{Guards: seed%2 == 0})
			f.Step(30)
			r := newRig(t, f.Index)
			want, got := map[string]uint64{}, map[string]uint64{}
			others := map[string]bool{} // of which it is left open whether they had been seen
			note := func(into map[string]uint64, p model.Protocol, port uint16, decided, before string, n uint64) {
				into[fmt.Sprintf("%s %d %s | %s", p, port, decided, before)] += n
			}
			decide := func(x model.Flow, named netip.AddrPort) string {
				before := x
				if named.IsValid() {
					before.Dst, before.DstPort = named.Addr(), named.Port()
				}
				return answerOf(t, verdict.DecideTranslatedAt(f.Index, "", before, x))
			}
			for range 12 {
				list := f.Stream.Flows(20)
				named := make([]netip.AddrPort, len(list))
				var waiting []events.Event
				for i, x := range list {
					if x.Protocol.HasPorts() && x.Src.Is4() && f.Rand.IntN(4) == 0 {
						named[i] = netip.MustParseAddrPort("10.96.0.1:80")
					}
					waiting = append(waiting, r.connection(x, named[i]))
				}
				loop := func(i int) bool { return list[i].Src.IsLoopback() || list[i].Dst.IsLoopback() }
				switch f.Rand.IntN(4) {
				case 0: // between changes
					r.kernel.Put(waiting...)
					r.read()
					for i, x := range list {
						if !loop(i) {
							note(want, x.Protocol, x.DstPort, decide(x, named[i]), "", 1)
						}
					}
				case 1: // before a change, and not read yet
					r.kernel.Put(waiting...)
					for i, x := range list {
						if !loop(i) {
							note(want, x.Protocol, x.DstPort, decide(x, named[i]), "", 1)
						}
					}
					r.Begin(true)
					f.Step(3)
					r.Settle(true)
					r.settle()
				case 3: // during a change, and never seen before
					for i := range list {
						if list[i].Protocol.HasPorts() {
							list[i].DstPort = uint16(20_000 + r.ids%10_000)
							waiting[i].Original.DstPort, waiting[i].Reply.SrcPort = list[i].DstPort, list[i].DstPort
							named[i] = netip.AddrPort{}
							waiting[i].Original.Dst = list[i].Dst
						}
					}
					r.Begin(true)
					f.Step(3)
					r.Settle(true)
					r.kernel.Put(waiting...)
					r.settle()
					for i, x := range list {
						if x.Protocol.HasPorts() && !loop(i) {
							note(want, x.Protocol, x.DstPort, decide(x, named[i]), textOf(t, &flows.Decided{}), 1)
						} else if !loop(i) {
							others[fmt.Sprintf("%s %d %s", x.Protocol, x.DstPort, decide(x, named[i]))] = true
						}
					}
				case 2: // known before a change, and begun again during it
					r.kernel.Put(waiting...)
					r.read()
					old := make([]string, len(list))
					for i, x := range list {
						old[i] = decide(x, named[i])
						if !loop(i) {
							note(want, x.Protocol, x.DstPort, old[i], "", 1)
						}
					}
					r.Begin(true)
					f.Step(3)
					r.Settle(true)
					r.kernel.Put(waiting...)
					r.settle()
					for i, x := range list {
						now, before := decide(x, named[i]), ""
						if now != old[i] {
							before = old[i]
						}
						if !loop(i) {
							note(want, x.Protocol, x.DstPort, now, before, 1)
						}
					}
				}
				if f.Rand.IntN(3) == 0 {
					r.next()
				}
			}
			r.next()
			for _, w := range r.table.ring {
				for _, rec := range w.records("") {
					before := ""
					if rec.Before != nil {
						before = textOf(t, rec.Before)
					}
					note(got, rec.Protocol, rec.Port, textOf(t, &rec.Decided), before, rec.Connections.New)
				}
			}
			for k := range want {
				if others[strings.SplitN(k, " | ", 2)[0]] {
					delete(want, k)
				}
			}
			for k := range got {
				if others[strings.SplitN(k, " | ", 2)[0]] {
					delete(got, k)
				}
			}
			for k, n := range want {
				if got[k] != n {
					t.Errorf("%d in the records, want %d: %s", got[k], n, k)
				}
				delete(got, k)
			}
			for k, n := range got {
				if n > 0 {
					t.Errorf("%d in the records, want none: %s", n, k)
				}
			}
		})
	}
}
