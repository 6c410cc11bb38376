package cmd

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// logFlags are the flags of a command that runs on and on, and logs.
type logFlags struct{ level, format string }

func (f *logFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.level, "log-level", "info", "least level that is logged: debug, info, warn, error")
	fs.StringVar(&f.format, "log-format", "text", "format of the log, on standard error: text, json")
}

// handler makes the log that the flags ask for.
func (f *logFlags) handler(w io.Writer) (slog.Handler, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want one of debug, info, warn, error", f.level)
	}
	o := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "text":
		return slog.NewTextHandler(w, o), nil
	case "json":
		return slog.NewJSONHandler(w, o), nil
	}
	return nil, fmt.Errorf("--log-format %q: want one of text, json", f.format)
}
