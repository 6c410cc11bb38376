package translate

import (
	"fmt"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// ciliumEntities translates a list of entities, which add up.
func (t *translation) ciliumEntities(at string, entities []string, sc *ciliumScope) ([]ciliumSide, error) {
	var out []ciliumSide
	bothNodes := slices.Contains(entities, "host") && slices.Contains(entities, "remote-node")
	for i, e := range entities {
		sides, err := t.ciliumEntity(fmt.Sprintf("%s[%d]", at, i), e, bothNodes, sc)
		if err != nil {
			return nil, err
		}
		out = append(out, sides...)
	}
	return out, nil
}

// ciliumEntity translates one entity. bothNodes reports that host and remote-node are
// in the same list.
func (t *translation) ciliumEntity(field, e string, bothNodes bool, sc *ciliumScope) ([]ciliumSide, error) {
	switch e {
	case "all":
		return []ciliumSide{{}}, nil
	case "world":
		return []ciliumSide{sc.outside()}, nil
	case "world-ipv4", "world-ipv6":
		side := sc.outside()
		side.ipVersion = 4
		if e == "world-ipv6" {
			side.ipVersion = 6
		}
		return []ciliumSide{side}, nil
	case "cluster":
		pods := ciliumSide{entity: v1alpha1.EntityRule{NamespaceSelector: "all()", Selector: podsOnly}}
		return []ciliumSide{pods, sc.anyNode()}, nil
	case "host", "remote-node":
		if side, ok := t.ciliumNodeEntity(field, e, bothNodes, sc); ok {
			return []ciliumSide{side}, nil
		}
		return nil, nil
	case "kube-apiserver":
		return t.service(field, "kubernetes", "default", sc), nil
	case "none":
		return nil, nil
	case "health", "init", "ingress", "unmanaged":
		if sc.allow {
			t.lose(field, "entity %s has no equivalent; it is not allowed", e)
		} else {
			t.lose(field, "entity %s has no equivalent; it is not denied by this rule", e)
		}
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %q is not an entity", field, e)
}

// ciliumNodeEntity translates host (the endpoint's own node) and remote-node
// (all others). A rule can name all nodes, not the own one or the others.
func (t *translation) ciliumNodeEntity(field, e string, both bool, sc *ciliumScope) (ciliumSide, bool) {
	switch {
	case e == "host" && (sc.ingress || sc.host):
		if sc.allow {
			t.explain(field, "left out: traffic from a node to itself and to its own pods is always allowed")
		} else {
			t.lose(field, "traffic from a node to itself and to its own pods is always allowed; it cannot be denied")
		}
		return ciliumSide{}, false
	case sc.ingress || sc.host:
		return sc.anyNode(), true
	case both:
		return sc.anyNode(), e == "host" // once is enough
	case sc.allow && e == "host":
		t.lose(field, "a rule cannot tell the pod's own node from others; it is not allowed (add remote-node if all nodes may be reached)")
		return ciliumSide{}, false
	case sc.allow:
		t.lose(field, "a rule cannot tell the pod's own node from others; they are not allowed (add host if all nodes may be reached)")
		return ciliumSide{}, false
	}
	t.lose(field, "a rule cannot tell the pod's own node from others; all nodes are denied")
	return sc.anyNode(), true
}
