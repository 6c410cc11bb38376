package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Severity ranks findings.
type Severity string

// The severities.
const (
	// Error: the object is invalid or not enforced as written.
	Error Severity = "error"
	// Warning: the object very likely does not do what was intended.
	Warning Severity = "warning"
	// Info: worth knowing; often deliberate.
	Info Severity = "info"
)

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// AtLeast reports whether a severity is as bad as another, or worse.
func (s Severity) AtLeast(o Severity) bool { return s.rank() <= o.rank() }

// The codes of findings.
const (
	// CodeInvalid: a part of the object cannot be understood, or looks wrong.
	CodeInvalid = "invalid"
	// CodeMissingTier: the policy's tier does not exist.
	CodeMissingTier = "missing-tier"
	// CodeShadowedRule: earlier rules decide everything that the rule matches.
	CodeShadowedRule = "shadowed-rule"
	// CodeShadowedPolicy: earlier rules decide everything that any rule of the policy matches.
	CodeShadowedPolicy = "shadowed-policy"
	// CodeNeverMatches: the rule's criteria contradict each other.
	CodeNeverMatches = "never-matches"
	// CodeSelectsNothing: the policy selects no endpoint.
	CodeSelectsNothing = "selects-nothing"
	// CodePeerMatchesNothing: no endpoint and no network set matches the peer of the
	// rule.
	CodePeerMatchesNothing = "peer-matches-nothing"
	// CodeNoDNS: pods may not resolve names.
	CodeNoDNS = "no-dns"
	// CodeFailsafeOverlap: failsafe ports override the rule.
	CodeFailsafeOverlap = "failsafe-overlap"
	// CodeHostDeniesAll: a host endpoint denies everything except failsafe ports.
	CodeHostDeniesAll = "host-denies-all"
	// CodeHostUnknownAddresses: no address of a host endpoint is known, its own or its
	// node's.
	CodeHostUnknownAddresses = "host-unknown-addresses"
	// CodeUntrackedReplies: replies to what a doNotTrack rule allows are denied.
	CodeUntrackedReplies = "untracked-replies"
	// CodeUnknownService: the rule names a Service that does not exist.
	CodeUnknownService = "unknown-service"
	// CodeUnknownServiceAccount: the rule names a service account that does not exist.
	CodeUnknownServiceAccount = "unknown-serviceaccount"
	// CodeUnknownPort: no endpoint that the rule applies to has a port with that name.
	CodeUnknownPort = "named-port-unknown"
	// CodeDuplicateOrder: two policies of equal order contradict each other.
	CodeDuplicateOrder = "duplicate-order"
	// CodeGuardNotEnforced: a guard only counts, or is off.
	CodeGuardNotEnforced = "guard-not-enforced"
	// CodePolicyTooLarge: a policy is past the budget of its namespace.
	CodePolicyTooLarge = "policy-too-large"
	// CodePodsPastBudget: pods are past the budget of their node.
	CodePodsPastBudget = "pods-past-budget"
	// CodeUntrackedWildcard: a doNotTrack policy selects a host endpoint "*".
	CodeUntrackedWildcard = "untracked-wildcard"
	// CodeWildcardDeniesDNS: a policy of a host endpoint "*" denies what pods send to
	// the cluster's DNS.
	CodeWildcardDeniesDNS = "wildcard-denies-dns"
	// CodeWildcardMeetsPods: a policy of a host endpoint "*" denies packets of local pods.
	CodeWildcardMeetsPods = "wildcard-meets-pods"
	// CodeTunnelsClosed: a host endpoint closes tunnels between nodes.
	CodeTunnelsClosed = "tunnels-closed"
	// CodeDuplicateInterface: two host endpoints name the same interface.
	CodeDuplicateInterface = "duplicate-interface"
	// CodeExpectedIPsDisagree: expectedIPs are not addresses of the interface.
	CodeExpectedIPsDisagree = "expected-ips-disagree"
	// CodeNamespacedSet: whether the rule of a global policy counts NetworkSets of
	// namespaces depends on a setting.
	CodeNamespacedSet = "namespaced-set"
	// CodeAddressClash: pods on two nodes have the same address.
	CodeAddressClash = "address-clash"
	// CodeServiceAddress: a block contains cluster addresses of Services and nothing
	// else.
	CodeServiceAddress = "service-address"
	// CodeServicePort: the rule has the port of a Service instead of that of its
	// endpoints.
	CodeServicePort = "service-port"
	// CodeDomainInternal: the names of a rule are those of the cluster's own DNS.
	CodeDomainInternal = "domain-internal"
	// CodeDomainNotDenied: a rule that denies leaves out the names of the network sets
	// that its selector matches.
	CodeDomainNotDenied = "domain-not-denied"
	// CodeDomainUnknown: of a name no DNS answer is known, and of others there is.
	CodeDomainUnknown = "domain-unknown"
	// CodeDomainWide: a wildcard is right below a domain in which anybody can have a name.
	CodeDomainWide = "domain-wide"
	// CodeEmptySet: a network set without addresses.
	CodeEmptySet = "empty-set"
	// CodeDeniesEverything: a policy without a selector or rules denies all traffic.
	CodeDeniesEverything = "denies-everything"
	// CodeBypassesNative: an Allow or Pass before the native policies covers what they
	// deny.
	CodeBypassesNative = "bypasses-native"
	// CodeUnreadable: the text is not a manifest that an API server would accept.
	CodeUnreadable = "unreadable"
	// CodeSkipped: an object of a kind that is not read.
	CodeSkipped = "skipped"
	// CodeUnknownField: the kind has no such field.
	CodeUnknownField = "unknown-field"
	// CodeUntranslated: a part of a foreign object has no exact equivalent.
	CodeUntranslated = "untranslated"
	// CodeTranslated: how a foreign object is read.
	CodeTranslated = "translated"
	// CodeReplaced: another object with the same name and tier takes precedence.
	CodeReplaced = "replaced"
)

// Finding is one thing that the linter has found.
type Finding struct {
	Severity Severity  `json:"severity"`
	Code     string    `json:"code"`
	Object   model.Ref `json:"object"`
	// Field path as in spec.ingress[1]; empty for the object as a whole.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Related are the rules or objects that the message names.
	Related []Related `json:"related,omitempty"`
}

// Related is another object that a finding refers to.
type Related struct {
	Object model.Ref `json:"object"`
	// Field of the object; empty for the object as a whole.
	Field string `json:"field,omitempty"`
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		a.Object.Compare(b.Object),
		compareFields(a.Field, b.Field),
		cmp.Compare(a.Severity.rank(), b.Severity.rank()),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Message, b.Message),
	)
}

// compareFields orders paths with their indices as numbers.
func compareFields(a, b string) int {
	for a != "" && b != "" {
		x, y := chunk(&a), chunk(&b)
		if x == y {
			continue
		}
		if digit(x[0]) && digit(y[0]) && len(x) != len(y) {
			return cmp.Compare(len(x), len(y))
		}
		return strings.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// chunk takes the digits, or the characters up to the next digit, off the front.
func chunk(s *string) string {
	i := 1
	for i < len(*s) && digit((*s)[i]) == digit((*s)[0]) {
		i++
	}
	c := (*s)[:i]
	*s = (*s)[i:]
	return c
}

// ruleField is the path of a rule. All policy kinds spell it alike.
func ruleField(dir model.Direction, index int) string {
	return fmt.Sprintf("spec.%s[%d]", dir, index)
}

// maxNamed is how many endpoints or rules a message names.
const maxNamed = 3

// some joins names, and gives the number of any further ones.
func some[T fmt.Stringer](list []T) string {
	var names []string
	for i, x := range list {
		if i == maxNamed && len(list) > maxNamed+1 {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(list)-maxNamed)
		}
		names = append(names, x.String())
	}
	return strings.Join(names, ", ")
}
