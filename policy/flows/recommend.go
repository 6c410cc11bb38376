package flows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// AnnotationSeen is on each rule of a recommendation: the peers that it was made for.
const AnnotationSeen = Group + "/seen"

// restName is the policy that denies what no other allows.
const restName = "deny-the-rest"

// Recommendation is policies that allow what was seen in a namespace, and deny the rest.
type Recommendation struct {
	// Policies are NetworkPolicies of tierwall.io with enforcement Audit, sorted by name.
	Policies []*v1alpha1.NetworkPolicy `json:"policies"`
	// Notes are what a reader must know about them, sorted.
	Notes []string `json:"notes,omitempty"`
}

// Recommend makes policies from what policies have allowed, one for each workload of the
// namespace that was seen. Peers are selected by the labels of their workload, by Service,
// network set or DNS name; by address only where none of these is known.
func Recommend(ix *index.Index, list []Record, namespace string) Recommendation {
	r := recommender{ix: ix, labels: newLabelled(ix), namespace: namespace, rules: map[string]*ruleSets{}, notes: map[string]bool{}}
	for i := range list {
		r.record(&list[i])
	}
	return r.policies()
}

type recommender struct {
	ix        *index.Index
	labels    *labelled
	namespace string
	// rules are by the selector of what they govern.
	rules map[string]*ruleSets
	notes map[string]bool
}

// ruleSets are the rules of a policy.
type ruleSets struct {
	workload        string
	ingress, egress map[string]*peerRules
}

// peerRules are the rules for one peer.
type peerRules struct {
	peers []v1alpha1.EntityRule // one for each family of a peer by address
	seen  map[string]bool
	ports map[model.Protocol]map[uint16]bool
	icmp  map[[3]int]bool // protocol, type, code
}

func (r *recommender) note(format string, args ...any) { r.notes[fmt.Sprintf(format, args...)] = true }

// record adds the rules that a record takes.
func (r *recommender) record(rec *Record) {
	if rec.Other && rec.Attempts() > 0 {
		r.note("some connections were past the limit of what is recorded: they are not in these policies")
		return
	}
	allowed := rec.Decided.Action == model.Allow || rec.Before != nil && rec.Before.Action == model.Allow
	if !allowed || rec.Other {
		return
	}
	if e := &rec.Destination; e.Kind == EndPod && e.Namespace == r.namespace && !ungoverned(rec.Decided.Ingress) {
		r.add(e, &rec.Source, rec, model.Ingress)
	}
	if e := &rec.Source; e.Kind == EndPod && e.Namespace == r.namespace && !ungoverned(rec.Decided.Egress) {
		r.add(e, &rec.Destination, rec, model.Egress)
	}
}

// ungoverned reports whether no policy could decide otherwise.
func ungoverned(v *model.Verdict) bool {
	if v == nil {
		return false
	}
	switch v.Reason {
	case model.ReasonOwnNode, model.ReasonLoopback, model.ReasonLinkService:
		return true
	}
	return false
}

func (r *recommender) add(own, peer *End, rec *Record, dir model.Direction) {
	subject := r.labels.of(own.Name())
	if !subject.exists {
		r.note("%s is gone: there are no rules for it", own.Name())
		return
	}
	if subject.text == "" {
		r.note("%s has no labels to be selected by: its rules are in %s, and so are every pod's of the namespace", own.Name(), restName)
	} else if len(subject.others) > 0 {
		r.note("no labels tell %s from %s: the policy selects both", own.Name(), strings.Join(subject.others, ", "))
	}
	key, entities := r.peer(peer, rec, dir)
	if len(entities) == 0 {
		return
	}
	sets := r.rules[subject.text]
	if sets == nil {
		sets = &ruleSets{workload: own.Workload, ingress: map[string]*peerRules{}, egress: map[string]*peerRules{}}
		r.rules[subject.text] = sets
	}
	sets.workload = min(sets.workload, own.Workload) // of several, always the same
	to := sets.ingress
	if dir == model.Egress {
		to = sets.egress
	}
	p := to[key]
	if p == nil {
		p = &peerRules{peers: entities, seen: map[string]bool{}, ports: map[model.Protocol]map[uint16]bool{}, icmp: map[[3]int]bool{}}
		to[key] = p
	}
	p.seen[peerName(peer)] = true
	if rec.Protocol == model.ICMPv4 || rec.Protocol == model.ICMPv6 {
		p.icmp[[3]int{int(rec.Protocol), int(rec.ICMPType), int(rec.ICMPCode)}] = true
		return
	}
	if p.ports[rec.Protocol] == nil {
		p.ports[rec.Protocol] = map[uint16]bool{}
	}
	p.ports[rec.Protocol][rec.Port] = true
}

func peerName(e *End) string {
	switch {
	case e.Set != "":
		return e.Set
	case e.Domain != "":
		return e.Domain
	}
	return cmp.Or(e.Name(), string(e.Kind))
}

// peer returns how rules name an end, and a key by which rules for it are one.
func (r *recommender) peer(e *End, rec *Record, dir model.Direction) (string, []v1alpha1.EntityRule) {
	one := func(p v1alpha1.EntityRule) (string, []v1alpha1.EntityRule) {
		return fmt.Sprintf("%+v %+v", p, p.Services), []v1alpha1.EntityRule{p}
	}
	switch e.Kind {
	case EndPod:
		s := r.labels.of(e.Name())
		p := v1alpha1.EntityRule{Selector: s.text}
		if e.Namespace != r.namespace {
			p.NamespaceSelector = "kubernetes.io/metadata.name == '" + e.Namespace + "'"
		}
		switch {
		case !s.exists:
			r.note("%s is gone: there are no rules for it", e.Name())
			return "", nil
		case s.text == "" && rec.Service != "" && dir == model.Egress:
			return one(r.service(rec.Service))
		case s.text == "":
			p.Selector = "all()"
			r.note("%s has no labels to be selected by: rules for it allow its whole namespace", e.Name())
		}
		return one(p)
	case EndSet:
		if p, ok := r.set(e); ok {
			return one(p)
		}
	case EndDomain:
		if dir == model.Egress && e.Domain != "" {
			return one(v1alpha1.EntityRule{Domains: []string{e.Domain}})
		}
	}
	if rec.Service != "" && dir == model.Egress {
		return one(r.service(rec.Service))
	}
	return r.byAddress(e)
}

func (r *recommender) service(name string) v1alpha1.EntityRule {
	namespace, service, _ := strings.Cut(name, "/")
	m := &v1alpha1.ServiceMatch{Name: service, Namespace: namespace}
	if namespace == r.namespace {
		m.Namespace = ""
	}
	return v1alpha1.EntityRule{Services: m}
}

// policies writes what was added.
func (r *recommender) policies() Recommendation {
	names := map[string]int{}
	for _, s := range r.rules {
		names[nameOf(s.workload)]++
	}
	rest := newPolicy(r.namespace, restName, "")
	out := Recommendation{Policies: []*v1alpha1.NetworkPolicy{rest}}
	for _, selector := range slices.Sorted(maps.Keys(r.rules)) {
		s := r.rules[selector]
		p := rest
		if selector != "" {
			name := "seen-" + nameOf(s.workload)
			if names[nameOf(s.workload)] > 1 {
				name = "seen-" + strings.ToLower(strings.ReplaceAll(s.workload, "/", "-"))
			}
			p = newPolicy(r.namespace, name, selector)
			out.Policies = append(out.Policies, p)
		}
		p.Spec.Selector = selector
		p.Spec.Ingress = rulesOf(s.ingress, model.Ingress)
		p.Spec.Egress = rulesOf(s.egress, model.Egress)
	}
	slices.SortFunc(out.Policies, func(a, b *v1alpha1.NetworkPolicy) int { return cmp.Compare(a.Name, b.Name) })
	out.Notes = slices.Sorted(maps.Keys(r.notes))
	return out
}

func nameOf(workload string) string {
	_, name, _ := strings.Cut(workload, "/")
	return name
}

func newPolicy(namespace, name, selector string) *v1alpha1.NetworkPolicy {
	return &v1alpha1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.NetworkPolicySpec{
			Tier: model.TierDefault, Selector: selector, Enforcement: v1alpha1.Audit,
			Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress},
		},
	}
}

// maxPorts is how many ports a rule may have.
const maxPorts = 50

// rulesOf writes the rules of a direction, in the order of their peers.
func rulesOf(peers map[string]*peerRules, dir model.Direction) []v1alpha1.Rule {
	var out []v1alpha1.Rule
	for _, key := range slices.Sorted(maps.Keys(peers)) {
		p := peers[key]
		for _, entity := range p.peers {
			rule := func(protocol model.Protocol) *v1alpha1.Rule {
				name := intstr.FromString(protocol.String())
				out = append(out, v1alpha1.Rule{
					Action: v1alpha1.Allow, Protocol: &name,
					Metadata: &v1alpha1.RuleMetadata{Annotations: map[string]string{AnnotationSeen: strings.Join(slices.Sorted(maps.Keys(p.seen)), ", ")}},
				})
				r := &out[len(out)-1]
				if dir == model.Ingress {
					r.Source = entity
				} else {
					r.Destination = entity
				}
				return r
			}
			for _, protocol := range slices.Sorted(maps.Keys(p.ports)) {
				for ports := range slices.Chunk(slices.Sorted(maps.Keys(p.ports[protocol])), maxPorts) {
					r := rule(protocol)
					if entity.Services != nil && dir == model.Egress {
						break // the Service's own ports
					}
					for _, port := range ports {
						if port != 0 {
							r.Destination.Ports = append(r.Destination.Ports, intstr.FromInt32(int32(port)))
						}
					}
				}
			}
			for _, i := range slices.SortedFunc(maps.Keys(p.icmp), func(a, b [3]int) int { return slices.Compare(a[:], b[:]) }) {
				protocol := model.Protocol(i[0])
				if ofFamily(&entity, protocol) {
					rule(protocol).ICMP = &v1alpha1.ICMPFields{Type: &i[1], Code: &i[2]}
				}
			}
		}
	}
	return out
}
