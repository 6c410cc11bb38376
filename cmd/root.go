package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses of every command.
const (
	exitOK       = 0 // done, and the result is positive
	exitNegative = 1 // done, and the result is negative
	exitUnusable = 2 // unusable input or usage
)

// errNegative is returned by a command that has printed a negative result.
// Nothing more is printed, and the exit status is 1.
var errNegative = errors.New("negative result")

// errUnreadable is returned by a command that has printed why parts of its input cannot
// be used. Nothing more is printed, and the exit status is 2.
var errUnreadable = errors.New("unusable input")

// streams are what a command reads and writes.
type streams struct {
	in     io.Reader
	out    io.Writer
	errOut io.Writer
}

// warn prints one warning line on standard error.
func (s streams) warn(format string, args ...any) {
	fmt.Fprintf(s.errOut, "warning: %s\n", plain(fmt.Sprintf(format, args...)))
}

// commands lists the constructors of all commands, in the order of the help text.
var commands = []func(streams) *cobra.Command{
	newExplainCommand,
	newEffectiveCommand,
	newTestCommand,
	newDiffCommand,
	newLintCommand,
	newReportCommand,
	newUICommand,
	newConvertCommand,
	newStatusCommand,
	newNamesCommand,
	newFlowsCommand,
	newUnusedCommand,
	newRecommendCommand,
	newAuditCommand,
	newManagerCommand,
	newVersionCommand,
	newMatrixCommand,
	newWhoCanCommand,
	newWhatCanCommand,
	newOptionsCommand,
}

// Main runs the command that args (args[0] is the program's name) call for and
// returns the exit status: 0 if all is well, 1 for a negative result (failed
// tests, lint errors, a difference), 2 for unusable input or usage.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := streams{in: in, out: out, errOut: errOut}
	name := "tierwall"
	if len(args) > 0 {
		name = programName(args[0])
		args = args[1:]
	}
	root := newRootCommand(name, s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNegative):
		return exitNegative
	case errors.Is(err, errUnreadable):
		return exitUnusable
	}
	printError(errOut, err)
	return exitUnusable
}

// programName is what people type: a binary called kubectl-tierwall is run as
// `kubectl tierwall`.
func programName(arg0 string) string {
	base := strings.TrimSuffix(filepath.Base(arg0), ".exe")
	if plugin, ok := strings.CutPrefix(base, "kubectl-"); ok {
		return "kubectl " + strings.ReplaceAll(plugin, "-", " ")
	}
	return "tierwall"
}

func newRootCommand(name string, s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "tierwall",
		Short: "Tiered network policy for Kubernetes",
		Long: `Tierwall merges native NetworkPolicies, ClusterNetworkPolicies and its own
tiered policies, and says what they allow, what decides it and why.`,
		// The display name keeps "kubectl tierwall" whole, which Use would cut at the space.
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return fmt.Errorf("unknown command %q%s (see %s --help)", args[0], hint, name)
		},
		SuggestionsMinimumDistance: 2,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.errOut)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	for _, construct := range slices.Concat(commands, kernelCommands) {
		c := construct(s)
		c.Example = strings.ReplaceAll(c.Example, "tierwall ", name+" ")
		root.AddCommand(c)
	}
	root.Version = currentVersion().String()
	root.SetVersionTemplate("{{.Version}}\n")
	setHelp(root)
	return root
}

// pathArgs wants at least one argument, or -f.
func pathArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 && !c.Flags().Changed("filename") {
		return fmt.Errorf("want a PATH: a file, a folder, or \"-\" for standard input (see %s --help)", c.CommandPath())
	}
	return nil
}

// printError prints an error, and each member of a joined one, as lines "error: …".
func printError(w io.Writer, err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintf(w, "error: %s\n", plain(line))
		}
	}
}
