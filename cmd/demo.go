//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	samples "github.com/tierwall/tierwall/config/samples"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/verdict"
)

func newDemoCommand(s streams) *cobra.Command {
	var keep bool
	var in inputFlags
	var dataplane string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Enforce the sample policies in this machine's kernel",
		Long: `Demo brings up the samples' cluster as network namespaces of this machine: nodes,
pods, hosts outside. It sends packets from everybody to everybody, without and
with the policies, which an agent on each node programs into the kernel; explains
one denied packet down to the rule and the kernel's counter; shows a policy
change cutting an established connection; and takes everything down. With -f it takes other manifests than the samples.

It needs root, or a kernel that lets users make user namespaces, and nft. It does
not touch the machine's own network. Nothing is left behind, even if it is killed.`,
		Example: `  tierwall demo
  tierwall demo --keep
  tierwall demo -f my-policies/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dataplane != "nftables" && dataplane != "iptables" {
				return fmt.Errorf("--dataplane %s: want nftables or iptables", dataplane)
			}
			if err := lab.Reexec(); err != nil {
				return err
			}
			d := demo{streams: s, paint: coloursFor(s.out), list: "nft list table inet tierwall"}
			if dataplane == "iptables" {
				d.backend, d.list = newIPTables, "iptables-save"
			}
			err := d.run(c.Context(), in.filenames, keep)
			return errors.Join(err, d.close())
		},
	}
	in.registerFiles(c.Flags())
	c.Flags().StringVar(&dataplane, "dataplane", "nftables", "what the agents program: nftables or iptables")
	c.Flags().BoolVar(&keep, "keep", false, "leave the world up, and say how to play with it, until interrupted")
	return c
}

// demo is one run of the command.
type demo struct {
	streams
	paint   colours
	objects *manifests.Result
	ix      *index.Index
	spec    lab.Spec
	lab     *lab.Lab
	fleet   *fleet.Fleet
	// backend of the agents, nil for nftables, and the command that lists what they have programmed.
	backend func() (fleet.Kernel, error)
	list    string
}

func (d *demo) close() error {
	var errs []error
	if d.fleet != nil {
		errs = append(errs, d.fleet.Stop())
	}
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
		d.say("\nEverything is taken down.\n")
	}
	return errors.Join(errs...)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

func (d *demo) run(ctx context.Context, files []string, keep bool) error {
	if err := d.load(files); err != nil {
		return err
	}
	if err := d.raise(ctx); err != nil {
		return err
	}
	m := newMatrix(d.ix)
	if err := m.probe(ctx, d.lab); err != nil {
		return err
	}
	d.say("\n%s everybody reaches everybody. %s\n", d.paint.bold("Without policies"), m.took())
	m.print(d.out, d.paint)

	start := time.Now()
	var err error
	if d.fleet, err = fleet.Start(ctx, d.lab, nodesOf(d.spec), d.objects.All(), fleet.Options{Backend: d.backend, Answers: d.objects.DNS()}); err != nil {
		return err
	}
	d.say("\n%s: %d policies in %d tiers, programmed by an agent on each of %d nodes in %s.", d.paint.bold("With policies"),
		len(d.ix.Policies()), len(d.ix.Tiers()), len(d.spec.Nodes), since(start))
	if err := m.probe(ctx, d.lab); err != nil {
		return err
	}
	d.say(" %s\n", m.took())
	m.print(d.out, d.paint)
	if wrong := m.compare(d.ix); len(wrong) > 0 {
		return fmt.Errorf("the kernel and the core disagree about %s", wrong[0])
	}
	if err := d.explainOne(ctx, m); err != nil {
		return err
	}
	if err := d.cutOne(ctx, m); err != nil {
		return err
	}
	if keep {
		d.wait(ctx)
	}
	return nil
}

// load reads the manifests, the samples if there are no files.
func (d *demo) load(files []string) error {
	if len(files) == 0 {
		dir, err := os.MkdirTemp("", "tierwall-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // at worst some YAML stays in the temporary folder
		if err := os.CopyFS(dir, samples.Files); err != nil {
			return err
		}
		files = []string{dir}
	}
	r, err := manifests.Load(files, manifests.Options{Stdin: d.in})
	if err != nil {
		return err
	}
	d.objects = finishLoad(d.streams, r)
	d.ix, err = buildIndex(d.streams, d.objects, false)
	return err
}

// raise brings the world up.
func (d *demo) raise(ctx context.Context) error {
	start := time.Now()
	spec, services, err := lab.FromObjects(d.objects.All())
	if err != nil {
		return err
	}
	if len(spec.Pods) < 2 {
		return errors.New("the objects have fewer than two pods: there is no connection to show")
	}
	d.spec = spec
	if d.lab, err = lab.New(ctx, spec); err != nil {
		return err
	}
	if len(services) > 0 {
		if err := d.lab.SetServices(services...); err != nil {
			return err
		}
	}
	d.say("A world of %d nodes and %d pods in network namespaces is up in %s.\n", len(spec.Nodes), len(spec.Pods), since(start))
	return nil
}

// explainOne sends a denied packet and follows it to the kernel's counter.
func (d *demo) explainOne(ctx context.Context, m *matrix) error {
	f, ok := m.telling(d.ix)
	if !ok {
		return nil
	}
	e := verdict.Explain(d.ix, f)
	var by model.Verdict
	for _, v := range e.Stages {
		if v.Action == model.Deny {
			by = v
		}
	}
	node := d.nodeOf(f, by.Direction)
	before, err := d.count(ctx, node, &by)
	if err != nil {
		return err
	}
	if _, err := d.lab.Probe(ctx, f, lab.Options{}); err != nil {
		return err
	}
	after, err := d.count(ctx, node, &by)
	if err != nil {
		return err
	}
	d.say("\n%s One packet, sent, and what became of it:\n\n", d.paint.bold("Why?"))
	printExplanation(d.out, policytest.NewWorld(d.ix, nil, nil), e, true)
	d.say("\nThe kernel of %s has counted it at that rule: %d packets before, %d after.\n", node, before, after)
	if after <= before {
		return fmt.Errorf("the counter of %s on %s has not moved", verdict.Decider(&by), node)
	}
	return nil
}

// nodeOf is the node that enforces a direction of a flow.
func (d *demo) nodeOf(f model.Flow, dir model.Direction) string {
	a := f.Src
	if dir == model.Ingress {
		a = f.Dst
	}
	if e, ok := d.ix.Endpoint(d.ix.Owner(a)); ok && e.Node != "" {
		return e.Node
	}
	return lab.DefaultNode
}

// count is what a node's kernel has counted for the rule of a verdict.
func (d *demo) count(ctx context.Context, node string, v *model.Verdict) (uint64, error) {
	counters, err := d.fleet.Counters(ctx, node)
	if err != nil {
		return 0, err
	}
	var n uint64
	for o, c := range counters {
		if o.Tier == v.Tier && o.Policy == v.Policy && o.Rule == v.Rule && o.Direction == v.Direction {
			n += c.Packets
		}
	}
	return n, nil
}

// cutOne opens a connection that is allowed and denies it.
func (d *demo) cutOne(ctx context.Context, m *matrix) error {
	f, ok := m.allowed(d.ix)
	if !ok {
		return nil
	}
	st, err := d.lab.OpenStream(ctx, lab.StreamOptions{
		Protocol: model.TCP, Src: netip.AddrPortFrom(f.Src, 0), Dst: netip.AddrPortFrom(f.Dst, f.DstPort), Rate: 200,
	})
	if err != nil {
		return err
	}
	defer st.Close()
	before, err := st.WaitRecords(ctx, 50)
	if err != nil {
		return err
	}
	freeze := freezePolicy(d.ix, f.Dst)
	d.say("\n%s A TCP connection %s → %s port %d: %d records echoed, none lost.\n", d.paint.bold("A change cuts."),
		party(d.ix, f.Src), party(d.ix, f.Dst), f.DstPort, before.Received)
	start := time.Now()
	d.fleet.Update(freeze, nil)
	after, err := st.WaitCut(ctx)
	if err != nil {
		return err
	}
	d.say("GlobalNetworkPolicy/demo-freeze is applied: it denies what goes to %s. The connection is cut: its last echo came %s after the change at the latest.\n",
		d.ix.Owner(f.Dst), since(start))
	if after.Received < before.Received {
		return errors.New("log records are missing from the count")
	}
	return nil
}

// wait leaves the world up until it is interrupted.
func (d *demo) wait(ctx context.Context) {
	d.say("\n%s Look around from another terminal, as the same user:\n\n", d.paint.bold("The world stays up until you press Ctrl-C."))
	var t table
	add := func(where, what, command string) {
		if path, err := d.lab.Path(where); err == nil {
			t.row(what, "nsenter --net="+path+" "+command)
		}
	}
	add(d.spec.Nodes[0].Name, "the ruleset of "+d.spec.Nodes[0].Name, d.list)
	for _, n := range d.spec.Nodes[1:] {
		add(n.Name, "a shell on "+n.Name, "bash")
	}
	for _, p := range d.spec.Pods {
		add(p.Where(), "a shell in "+p.Where(), "bash")
	}
	_ = t.writeTo(d.out, "  ")
	<-ctx.Done()
}

// since is how long ago something was, for people.
func since(start time.Time) string { return time.Since(start).Round(100 * time.Microsecond).String() }
