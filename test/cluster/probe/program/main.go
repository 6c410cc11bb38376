// Probe is the program of test pods: see package probe.
//
//	probe --name web --control /control/web.sock --ports 80,81
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

func main() {
	s := &probe.Server{}
	flag.StringVar(&s.Name, "name", "", "the name to answer with")
	flag.StringVar(&s.Control, "control", "", "path of the control socket")
	flag.Func("ports", "ports to answer on, separated by commas, each on TCP and UDP", func(text string) error {
		for _, word := range strings.Split(text, ",") {
			port, err := strconv.ParseUint(word, 10, 16)
			if err != nil || port == 0 {
				return fmt.Errorf("%q is no port", word)
			}
			s.Ports = append(s.Ports, int(port))
		}
		return nil
	})
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		cancel()
		log.Fatal(err) //nolint:gocritic // all that is deferred is the line above
	}
}
