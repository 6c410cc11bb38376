package lint

import (
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/nearest"
)

// IgnoreAnnotation on an object lists the codes of findings that are not reported for
// it because they are intended, separated by commas.
const IgnoreAnnotation = "tierwall.io/lint-ignore"

// Code is a kind of finding.
type Code struct {
	Name string
	// Summary describes such findings in a few words.
	Summary string
}

// Codes are all kinds of findings, by name.
var Codes = []Code{
	{CodeAddressClash, "several pods have the same address"},
	{CodeBypassesNative, "a rule before the native policies takes effect in their place"},
	{CodeDeniesEverything, "a policy denies all traffic of every endpoint"},
	{CodeDomainInternal, "a rule by name means the cluster's own names"},
	{CodeDomainNotDenied, "a rule leaves out the names of network sets"},
	{CodeDomainUnknown, "no DNS answer is known for a name"},
	{CodeDomainWide, "anybody can have a name that a rule means"},
	{CodeDuplicateInterface, "two host endpoints name the same interface"},
	{CodeDuplicateOrder, "policies of equal order contradict each other"},
	{CodeEmptySet, "a network set has no addresses"},
	{CodeExpectedIPsDisagree, "expectedIPs are not addresses of the interface"},
	{CodeFailsafeOverlap, "failsafe ports override a rule"},
	{CodeGuardNotEnforced, "a guard only counts, or is off"},
	{CodeHostDeniesAll, "a host endpoint denies everything but failsafe ports"},
	{CodeHostUnknownAddresses, "no address of a host endpoint is known"},
	{CodeInvalid, "a part of an object cannot be understood, or looks wrong"},
	{CodeMissingTier, "a policy's tier does not exist"},
	{CodeNamespacedSet, "whether a global rule counts NetworkSets of namespaces depends on a setting"},
	{CodeUnknownPort, "no endpoint has a port with the name"},
	{CodeNeverMatches, "a rule can match nothing"},
	{CodeNoDNS, "pods may not resolve names"},
	{CodePeerMatchesNothing, "a rule's peer matches nothing"},
	{CodePodsPastBudget, "pods are past the budget of their node"},
	{CodePolicyTooLarge, "a policy is past the budget of its namespace"},
	{CodeReplaced, "another object takes precedence"},
	{CodeSelectsNothing, "a policy selects no endpoint"},
	{CodeServiceAddress, "a block holds cluster addresses of Services only, which policies do not see"},
	{CodeServicePort, "a rule has a Service's port instead of its endpoints' port"},
	{CodeShadowedPolicy, "earlier rules decide everything that a policy matches"},
	{CodeShadowedRule, "earlier rules decide everything that a rule matches"},
	{CodeSkipped, "an object is not read"},
	{CodeTranslated, "how a foreign object is read"},
	{CodeTunnelsClosed, "a host endpoint closes tunnels between nodes"},
	{CodeUnknownField, "a field is not known"},
	{CodeUnknownService, "a rule names a Service that does not exist"},
	{CodeUnknownServiceAccount, "a rule names a service account that does not exist"},
	{CodeUnreadable, "a file is not a manifest that an API server would accept"},
	{CodeUntrackedReplies, "replies to what an untracked rule allows are denied"},
	{CodeUntrackedWildcard, "an untracked policy applies to pods' packets"},
	{CodeUntranslated, "a part of a foreign object has no exact equivalent"},
	{CodeWildcardDeniesDNS, "a policy of a host endpoint * denies pods' DNS"},
	{CodeWildcardMeetsPods, "a policy of a host endpoint * denies pods' packets"},
}

// ParseCodes reads a comma-separated list of codes that may be ignored. refused
// describes why the others are rejected; it is empty if there are none.
func ParseCodes(text string) (codes []string, refused string) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
		case word == CodeInvalid || word == CodeUnreadable:
			refused = "findings of code " + word + " cannot be ignored: fix what they name"
		case slices.ContainsFunc(Codes, func(c Code) bool { return c.Name == word }):
			codes = append(codes, word)
		default:
			names := make([]string, len(Codes))
			for i, c := range Codes {
				names[i] = c.Name
			}
			refused = "unknown code " + quoted(word) + nearest.Clause(word, names)
		}
	}
	return codes, refused
}

// quoted is a word of the input for a message, cut if it is long.
func quoted(word string) string {
	const limit = 60
	if len(word) > limit {
		word = strings.ToValidUTF8(word[:limit], "") + "…"
	}
	return `"` + word + `"`
}
