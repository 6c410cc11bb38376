package cluster

import "maps"

// definitions are the names of CustomResourceDefinitions. One reflector fills them.
type definitions struct {
	source *Source
	names  map[string]struct{}
	filled bool
}

var (
	_ layer    = (*definitions)(nil)
	_ observer = (*definitions)(nil)
)

// upsert implements layer.
func (d *definitions) upsert(_, name string, _ any) {
	d.names[name] = struct{}{}
	d.publish()
}

// remove implements layer.
func (d *definitions) remove(_, name string) {
	delete(d.names, name)
	d.publish()
}

// listed implements observer.
func (d *definitions) listed() {
	d.filled = true
	d.publish()
}

// unreadable implements observer. Of definitions only the names are read.
func (d *definitions) unreadable(string, string, error) {}

// answered implements observer.
func (d *definitions) answered(err error) {
	d.source.status.set(crdResource.GroupResource().String(), err)
}

// publish has the source follow the names, once all are known.
func (d *definitions) publish() {
	if !d.filled {
		return
	}
	d.source.mu.Lock()
	d.source.defined = maps.Clone(d.names)
	d.source.mu.Unlock()
	d.source.look()
}
