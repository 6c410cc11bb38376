//go:build linux

package cmd

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/controllers/agent/learnt"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
)

// resolvConf names the servers that the node itself asks.
const resolvConf = "/etc/resolv.conf"

// names is what rules by DNS name need of this host. Nothing is opened before there is one.
func (f *agentFlags) names() *agent.NamesOptions {
	return &agent.NamesOptions{Open: f.openNames, Resolvers: func() []netip.Addr { return resolvers(resolvConf) }}
}

func (f *agentFlags) openNames() (answers.Options, error) {
	reader, err := nfqueue.New(dataplane.AnswerQueue)
	if err != nil {
		return answers.Options{}, err
	}
	held, err := nfqueue.NewSwitch()
	if err != nil {
		return answers.Options{}, errors.Join(err, reader.Close())
	}
	table, err := conntrack.New()
	if err != nil {
		return answers.Options{}, errors.Join(err, reader.Close(), held.Close())
	}
	o := answers.Options{
		Reader: reader, Switch: held, Ask: answers.Ask,
		Connections: func() (map[netip.Addr]struct{}, error) { return destinations(table) },
		Close: func() error {
			table.Close()
			return errors.Join(reader.Close(), held.Close())
		},
	}
	if f.stateDir != "" {
		o.File = &learnt.Log{Path: filepath.Join(f.stateDir, learnt.FileName)}
	}
	return o, nil
}

// destinations are the addresses that connections go to, before and after destination NAT.
func destinations(t conntrack.Table) (map[netip.Addr]struct{}, error) {
	out := map[netip.Addr]struct{}{}
	err := t.List(context.Background(), func(e *conntrack.Entry) bool {
		out[e.Original.Dst], out[e.Reply.Src] = struct{}{}, struct{}{}
		return true
	})
	return out, err
}

// resolvers are the servers that a file of the form of resolv.conf names.
func resolvers(path string) (out []netip.Addr) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			out = append(out, a.WithZone("").Unmap())
		}
	}
	return out
}
