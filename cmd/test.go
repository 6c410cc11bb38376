package cmd

import "github.com/spf13/cobra"

func newTestCommand(s streams) *cobra.Command {
	return &cobra.Command{Use: "test PATH...", Short: "Run policy tests", RunE: func(*cobra.Command, []string) error { return nil }}
}
