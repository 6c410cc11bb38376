package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is the release, set by the linker; the build information stands in
// where it is empty.
var Version string

// versionInfo is what `tierwall version` reports.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func currentVersion() versionInfo {
	v := versionInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}

// String is the line that people read.
func (v versionInfo) String() string {
	return fmt.Sprintf("tierwall %s (%s, %s)", v.Version, v.Go, v.Platform)
}

func newVersionCommand(s streams) *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := currentVersion()
			if !output.text() {
				return output.write(s.out, v)
			}
			_, err := fmt.Fprintln(s.out, v)
			return err
		},
	}
	output.register(c.Flags())
	return c
}
