package cmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the number of columns that help fits in.
const helpWidth = 80

// The groups of commands in the help of the program, by use.
const (
	groupAsk     = "ask"
	groupCheck   = "check"
	groupCluster = "cluster"
	groupHost    = "host"
	groupOther   = "other"
)

// groups are in the order of the help.
var groups = []*cobra.Group{
	{ID: groupAsk, Title: "Ask who reaches whom, and why:"},
	{ID: groupCheck, Title: "Check and convert manifests:"},
	{ID: groupCluster, Title: "Look after a cluster or a node:"},
	{ID: groupHost, Title: "Run as a service:"},
	{ID: groupOther, Title: "Other:"},
}

// groupOf is the group of each command, by name.
var groupOf = map[string]string{
	"explain": groupAsk, "effective": groupAsk, "ui": groupAsk, "matrix": groupAsk, "who-can": groupAsk, "what-can": groupAsk,
	"test": groupCheck, "lint": groupCheck, "diff": groupCheck, "convert": groupCheck, "report": groupCheck,
	"status": groupCluster, "names": groupCluster, "render": groupCluster, "demo": groupCluster,
	"flows": groupCluster, "audit": groupCluster, "unused": groupCluster, "recommend": groupCluster,
	"agent": groupHost, "manager": groupHost,
}

// setHelp gives all commands below root their help text and their groups.
func setHelp(root *cobra.Command) {
	root.AddGroup(groups...)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	for _, c := range root.Commands() {
		c.GroupID = groupOther
		if id, ok := groupOf[c.Name()]; ok {
			c.GroupID = id
		}
	}
	root.SetUsageFunc(func(c *cobra.Command) error { return writeUsage(c.OutOrStderr(), c) })
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		text := c.Long
		if text == "" {
			text = c.Short
		}
		w := c.OutOrStdout()
		fmt.Fprintf(w, "%s\n\n", reflow(strings.TrimSpace(text), helpWidth))
		_ = writeUsage(w, c)
	})
}

// writeUsage writes how a command is called: all of its help but the text.
func writeUsage(w io.Writer, c *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	switch {
	case c.HasSubCommands() && !c.HasParent():
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", c.CommandPath())
	case c.HasSubCommands():
		fmt.Fprintf(&b, "  %s COMMAND\n", c.CommandPath())
	default:
		fmt.Fprintf(&b, "  %s\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", breakExamples(c.Example, helpWidth))
	}
	for _, g := range c.Groups() {
		writeCommands(&b, g.Title, c, g.ID)
	}
	if len(c.Groups()) == 0 && c.HasAvailableSubCommands() {
		writeCommands(&b, "Commands:", c, "")
	}
	own, cluster := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[clusterFlag] != nil {
			cluster.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	writeFlags(&b, "Flags:", own)
	if cluster.HasAvailableFlags() {
		writeFlags(&b, fmt.Sprintf("Flags for the live cluster (all: %s options):", c.Root().CommandPath()), cluster)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%s COMMAND --help says more of a command.\n", c.CommandPath())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCommands(b *strings.Builder, title string, c *cobra.Command, group string) {
	fmt.Fprintf(b, "\n%s\n", title)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, sub := range c.Commands() {
		if sub.GroupID == group && (sub.IsAvailableCommand() || sub.Name() == "help") {
			fmt.Fprintf(t, "  %s\t%s\n", sub.Name(), sub.Short)
		}
	}
	_ = t.Flush() // to memory
}

func writeFlags(b *strings.Builder, title string, fs *pflag.FlagSet) {
	if fs.HasAvailableFlags() {
		fmt.Fprintf(b, "\n%s\n%s", title, fs.FlagUsagesWrapped(helpWidth))
	}
}

// reflow breaks the lines of paragraphs anew, at width columns. Lines that begin
// with a space, such as those of a list, stay as they are.
func reflow(text string, width int) string {
	var out []string
	column := 0 // of the paragraph's last line; 0: none is open
	for _, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			out, column = append(out, line), 0
			continue
		}
		for _, word := range strings.Fields(line) {
			n := utf8.RuneCountInString(word)
			if column == 0 || column+1+n > width {
				out, column = append(out, word), n
				continue
			}
			out[len(out)-1] += " " + word
			column += 1 + n
		}
	}
	return strings.Join(out, "\n")
}

// breakExamples breaks command lines before a flag, with a backslash, as a shell
// reads them.
func breakExamples(text string, width int) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		for utf8.RuneCountInString(line) > width {
			at := strings.LastIndex(line[:min(width-1, len(line))], " -")
			if at <= 4 {
				break
			}
			out = append(out, line[:at]+" \\")
			line = "     " + line[at:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
