// CoreDNS with the plugins that the test cluster's DNS needs, and no others: the whole
// of it draws in the clients of every cloud.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which plugins are asked: the default one has names that this program
	// does not know.
	dnsserver.Directives = []string{"reload", "ready", "errors", "template", "kubernetes", "file"}
	coremain.Run()
}
