package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/api/selector"
)

// DescribeSelector describes a selector and its scope in words: "pods app == 'db' in
// namespace shop".
func DescribeSelector(s *selector.Selector) string {
	var w selectorWords
	for _, c := range s.Conjuncts() {
		w.add(c)
	}
	return w.String()
}

// selectorWords are the terms of a selector, sorted by what they describe.
type selectorWords struct {
	noun           string // kind of owner; empty: the usual ones
	own            []*selector.Selector
	where, account []string
	// inNamespace and global report whether the owner is in any namespace, or in none.
	inNamespace, global bool
}

func (w *selectorWords) add(c *selector.Selector) {
	keys, text := c.Keys(), c.String()
	all := func(prefix string) bool {
		return len(keys) > 0 && !slices.ContainsFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) })
	}
	without := func(prefix string) *selector.Selector {
		return c.RewriteKeys(func(k string) string { return strings.TrimPrefix(k, prefix) })
	}
	switch {
	case text == kindIsPod:
		w.noun = "pods"
	case text == kindIsNode:
		w.noun = "nodes"
	case text == kindIsEndpoint:
		w.noun = "endpoints"
	case (text == kindIsNoNode || text == kindIsGlobal) && w.noun == "":
		// Endpoints and network sets, the usual meaning of a selector.
	case text == hasNamespace:
		w.inNamespace = true
	case text == "global()", text == noNamespace:
		w.global = true
	case len(keys) == 1 && keys[0] == LabelNamespace:
		if name, ok := onlyValue(c, LabelNamespace); ok {
			w.where = append(w.where, "namespace "+name)
		} else {
			w.own = append(w.own, c)
		}
	case all(PrefixNamespace):
		plain := without(PrefixNamespace)
		name, ok := onlyValue(plain, "kubernetes.io/metadata.name")
		if !ok {
			name, ok = onlyValue(plain, LabelName)
		}
		if ok {
			w.where = append(w.where, "namespace "+name)
		} else {
			w.where = append(w.where, "namespaces "+plain.String())
		}
	case len(keys) == 1 && keys[0] == LabelServiceAccount:
		if name, ok := onlyValue(c, LabelServiceAccount); ok {
			w.account = append(w.account, "service account "+name)
		} else if text != hasAccount {
			w.own = append(w.own, c)
		}
	case all(PrefixServiceAccount):
		w.account = append(w.account, "service accounts "+without(PrefixServiceAccount).String())
	default:
		w.own = append(w.own, c)
	}
}

func (w *selectorWords) String() string {
	var out []string
	if w.noun != "" {
		out = append(out, w.noun)
	}
	if len(w.own) > 0 {
		out = append(out, selector.And(w.own...).String())
	} else if w.noun == "" {
		out = append(out, "all()")
	}
	if len(w.account) > 0 {
		out = append(out, "of "+strings.Join(w.account, " and "))
	}
	switch {
	case len(w.where) > 0:
		out = append(out, "in "+strings.Join(w.where, " and "))
	case w.inNamespace:
		out = append(out, "in any namespace")
	case w.global:
		out = append(out, "in no namespace")
	}
	return strings.Join(out, " ")
}

var (
	kindIsPod      = selector.Equal(LabelKind, OwnerPod).String()
	kindIsNode     = selector.Equal(LabelKind, OwnerNode).String()
	kindIsNoNode   = selector.NotEqual(LabelKind, OwnerNode).String()
	kindIsGlobal   = selector.NotIn(LabelKind, OwnerNode, OwnerNamespacedSet).String()
	kindIsEndpoint = selector.In(LabelKind, OwnerPod, OwnerHostEndpoint).String()
	hasNamespace   = selector.Has(LabelNamespace).String()
	noNamespace    = selector.Not(selector.Has(LabelNamespace)).String()
	hasAccount     = selector.Has(LabelServiceAccount).String()
)

// onlyValue returns v where s is key == v.
func onlyValue(s *selector.Selector, key string) (string, bool) {
	c := s.Constraints()
	if len(c) != 1 || len(c[0].Values) != 1 || s.String() != selector.Equal(key, c[0].Values[0]).String() {
		return "", false
	}
	return c[0].Values[0], true
}

// Describe describes what a rule matches, without its action: "TCP from pods app ==
// 'web' in namespace shop to ports 80, 8000-8999". A match without criteria is
// "anything".
func (m *Match) Describe() string {
	if m.Never {
		return "nothing (the rule is invalid)"
	}
	var out []string
	if m.IPVersion != 0 {
		out = append(out, "IPv"+strconv.Itoa(int(m.IPVersion)))
	}
	if m.Protocol != AnyProtocol {
		out = append(out, m.Protocol.String())
	}
	if m.NotProtocol != AnyProtocol {
		out = append(out, "not "+m.NotProtocol.String())
	}
	if m.ICMP != nil {
		out = append(out, m.ICMP.describe())
	}
	if m.NotICMP != nil {
		out = append(out, "not "+m.NotICMP.describe())
	}
	if s := m.Source.describe(); s != "" {
		out = append(out, "from "+s)
	}
	if s := m.Destination.describe(); s != "" {
		out = append(out, "to "+s)
	}
	if len(out) == 0 {
		return "anything"
	}
	return strings.Join(out, " ")
}

func (i *ICMP) describe() string {
	if i.Code == nil {
		return fmt.Sprintf("type %d", i.Type)
	}
	return fmt.Sprintf("type %d code %d", i.Type, *i.Code)
}

// describe describes what a side matches; the empty string means everything.
func (p *Peer) describe() string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Selector != nil {
		add("%s", DescribeSelector(p.Selector))
	}
	if p.NotSelector != nil {
		add("not %s", DescribeSelector(p.NotSelector))
	}
	if p.Nets != nil {
		add("%s", join(p.Nets))
	}
	if len(p.NotNets) > 0 {
		add("except %s", join(p.NotNets))
	}
	if p.Service != (ServiceRef{}) {
		add("service %s/%s", p.Service.Namespace, p.Service.Name)
	}
	if p.Domains != nil {
		add("%s %s", plural("domain", len(p.Domains)), join(p.Domains))
	}
	on := ""
	if len(out) > 0 {
		on = "on "
	}
	if p.Ports != nil {
		add("%s%s %s", on, plural("port", len(p.Ports)), join(p.Ports))
	}
	if len(p.NotPorts) > 0 {
		add("%snot %s %s", on, plural("port", len(p.NotPorts)), join(p.NotPorts))
	}
	return strings.Join(out, " ")
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func join[T fmt.Stringer](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = v.String()
	}
	return strings.Join(s, ", ")
}

// String is a number, FIRST-LAST, or a name.
func (p Port) String() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.First == p.Last:
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}
