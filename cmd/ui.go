package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/controllers/page"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/ui"
)

func newUICommand(s streams) *cobra.Command {
	var in inputFlags
	var o uiOptions
	c := &cobra.Command{
		Use:   "ui",
		Short: "Serve a page of policies, who reaches whom, flows and what-if",
		Long: `UI serves a page to a browser on this machine: the policies tier by tier, who may reach
whom, the flows that were recorded, what decides each of them and why, and what a change
would do. It reads manifests or a live cluster, as the other commands do, and writes nothing.

The page is served on a loopback address only. Its address, which is printed, holds a
token that is new in each run: neither other users of this machine nor other sites can
read the page without it. The page loads nothing from elsewhere.

--records names a file of flow records as JSON lines, as agents write them to their
standard output; lines that are appended later show up on the page.`,
		Example: `  tierwall ui -f config/samples
  tierwall ui -f policies/ --records flows.jsonl
  tierwall ui --context production`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return serveUI(c.Context(), s, &in, &o) },
	}
	in.register(c.Flags())
	c.Flags().StringVar(&o.address, "address", "127.0.0.1:0", "loopback address and port to serve on; port 0: any that is free")
	c.Flags().StringVar(&o.records, "records", "", "file of flow records, as JSON lines")
	completer{s, &in}.register(c)
	return c
}

type uiOptions struct{ address, records string }

// serveUI serves the page until the context ends.
func serveUI(ctx context.Context, s streams, in *inputFlags, o *uiOptions) error {
	if slices.Contains(in.filenames, manifests.Stdin) {
		return errors.New("ui reads its manifests more than once: want files or folders instead of standard input")
	}
	if err := loopbackOnly(o.address); err != nil {
		return err
	}
	options, err := o.page(s, in)
	if err != nil {
		return err
	}
	server, err := page.New(ctx, *options)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.address)
	if err != nil {
		return fmt.Errorf("--address: %w", err)
	}
	h := &http.Server{
		Handler: server.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	fmt.Fprintf(s.out, "Tierwall's page of %s:\n\n  http://%s/#key=%s\n\nThe address holds this run's token: only who has it can read the page. Ctrl-C ends it.\n",
		plain(options.Source), l.Addr(), options.Token)
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		_ = h.Close()
		return nil
	}
}

// loopbackOnly rejects addresses that other machines could reach.
func loopbackOnly(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--address %q: want HOST:PORT", address)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return fmt.Errorf("--address %q: want a loopback address: the page is served to this machine alone", address)
	}
	return nil
}

// page gathers what the page is of.
func (o *uiOptions) page(s streams, in *inputFlags) (*page.Options, error) {
	out := &page.Options{
		Source: strings.Join(in.filenames, ", "), Live: in.live(), Assets: ui.Files(), Token: page.NewToken(), Version: currentVersion().String(),
		Load: func(ctx context.Context) ([]*manifests.Result, error) { return in.layers(ctx, s) },
		Build: func(r *manifests.Result, audited bool) (*index.Index, []model.Problem) {
			ix, problems := r.Index()
			if audited {
				ix = enforceAudited(r)
			}
			applyBudgets(r, ix)
			ix.Flush()
			return ix, problems
		},
	}
	if in.live() {
		config, err := in.cluster.config()
		if err != nil {
			return nil, err
		}
		out.Source = strings.TrimSuffix("the cluster "+config.Host+" with "+out.Source, " with ")
	}
	if o.records != "" {
		f, err := page.OpenRecords(o.records, nil)
		if err != nil {
			return nil, fmt.Errorf("--records: %w", err)
		}
		out.Records, out.Flows = f, f
	}
	return out, nil
}

// layers are the objects that load reads, one over the other and not completed, for a
// command that lays others over them.
func (f *inputFlags) layers(ctx context.Context, s streams) (out []*manifests.Result, err error) {
	collectLess()
	var files *manifests.Result
	if len(f.filenames) > 0 {
		// Files first: their mistakes are found without a cluster.
		if files, err = manifests.Load(f.filenames, manifests.Options{Stdin: s.in}); err != nil {
			return nil, err
		}
	}
	if f.live() {
		live, err := f.readCluster(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, live)
	}
	if files != nil {
		out = append(out, files)
	}
	return out, nil
}
