package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	// Error: the object is invalid or not enforced as written.
	Error Severity = "error"
	// Warning: the object very likely does not do what was meant.
	Warning Severity = "warning"
	// Info: worth knowing; often deliberate.
	Info Severity = "info"
)

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// AtLeast reports whether a severity is as bad as another, or worse.
func (s Severity) AtLeast(o Severity) bool { return s.rank() <= o.rank() }

// The codes of findings.
const (
	// CodeInvalid: a part of the object cannot be understood, or is odd.
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
	// CodePeerMatchesNothing: no endpoint and no network set is the peer of the rule.
	CodePeerMatchesNothing = "peer-matches-nothing"
	// CodeNoDNS: pods may not ask for names.
	CodeNoDNS = "no-dns"
	// CodeFailsafeOverlap: failsafe ports overrule the rule.
	CodeFailsafeOverlap = "failsafe-overlap"
	// CodeHostDeniesAll: a host endpoint denies everything but failsafe ports.
	CodeHostDeniesAll = "host-denies-all"
	// CodeHostUnknownAddresses: a host endpoint has no address that is known, its own or its node's.
	CodeHostUnknownAddresses = "host-unknown-addresses"
	// CodeUntrackedReplies: replies of what a doNotTrack rule allows are denied.
	CodeUntrackedReplies = "untracked-replies"
	// CodeUnknownService: the rule names a Service that does not exist.
	CodeUnknownService = "unknown-service"
	// CodeUnknownServiceAccount: the rule names a service account that does not exist.
	CodeUnknownServiceAccount = "unknown-serviceaccount"
	// CodeUnknownPort: no endpoint that the rule is about has a port of that name.
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
	// CodeWildcardDeniesDNS: a policy of a host endpoint "*" denies what pods ask of the cluster's DNS.
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
	// CodeAddressClash: pods of two nodes have one address.
	CodeAddressClash = "address-clash"
	// CodeServiceAddress: a block holds cluster addresses of Services and nothing else.
	CodeServiceAddress = "service-address"
	// CodeServicePort: the rule has the port of a Service where that of its endpoints belongs.
	CodeServicePort = "service-port"
	// CodeEmptySet: a network set without addresses.
	CodeEmptySet = "empty-set"
	// CodeDeniesEverything: a policy without a selector or rules denies all that there is.
	CodeDeniesEverything = "denies-everything"
	// CodeBypassesNative: an Allow or Pass before the native policies covers their denies.
	CodeBypassesNative = "bypasses-native"
	// CodeUnreadable: the text is no manifest that an API server would take.
	CodeUnreadable = "unreadable"
	// CodeSkipped: an object of a kind that is not read.
	CodeSkipped = "skipped"
	// CodeUnknownField: a field that the kind is not known to have.
	CodeUnknownField = "unknown-field"
	// CodeUntranslated: a part of a foreign object has no exact equivalent.
	CodeUntranslated = "untranslated"
	// CodeTranslated: how a foreign object is read.
	CodeTranslated = "translated"
	// CodeReplaced: another object of the name and tier counts instead.
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

// Related is another object that bears on a finding.
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

// some joins names, the surplus as a number.
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
