// Package cmd holds the commands that people run: `tierwall test`, `explain`,
// `effective` and their siblings, also as `kubectl tierwall …`.
//
// Each command is one file with a constructor
//
//	func newXCommand(s streams) *cobra.Command
//
// and one line in the list of root.go. A command reads its objects through
// inputFlags (files, standard input or a live cluster), writes its result to
// s.out through outputFlag (-o text, json, yaml), and reports its outcome by the
// error that RunE returns:
//
//   - nil: exit status 0;
//   - errNegative: the command has printed its result, and the result is
//     negative (a test failed, lint found errors, two sides differ): status 1;
//   - any other error: unusable input or usage, printed as lines "error: …" on
//     standard error: status 2.
//
// Results go to standard output; warnings and errors to standard error.
package cmd
