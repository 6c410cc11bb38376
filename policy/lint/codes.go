package lint

import (
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/nearest"
)

// IgnoreAnnotation lists the codes of the findings that are deliberate for the annotated
// object and not reported for it, separated by commas.
const IgnoreAnnotation = "tierwall.io/lint-ignore"

// Code is a kind of finding.
type Code struct {
	Name string
	// Summary describes such findings in a few words.
	Summary string
}

// Codes are all kinds of findings, by name.
var Codes = []Code{
	{CodeAddressClash, "several pods share an address"},
	{CodeBypassesNative, "an earlier Allow or Pass overrides native NetworkPolicies"},
	{CodeDeniesEverything, "a policy denies all traffic of all endpoints"},
	{CodeDuplicateInterface, "two host endpoints name the same interface"},
	{CodeDuplicateOrder, "policies of equal order contradict each other"},
	{CodeEmptySet, "a network set has no addresses"},
	{CodeExpectedIPsDisagree, "expectedIPs are not the addresses of the interface"},
	{CodeFailsafeOverlap, "failsafe ports overrule a rule"},
	{CodeGuardNotEnforced, "a guard only counts packets, or is off"},
	{CodeHostDeniesAll, "a host endpoint denies everything but failsafe ports"},
	{CodeHostUnknownAddresses, "no address of a host endpoint is known"},
	{CodeInvalid, "part of an object is invalid or suspicious"},
	{CodeMissingTier, "the tier of a policy does not exist"},
	{CodeNamespacedSet, "a setting decides whether a rule of a global policy matches NetworkSets"},
	{CodeUnknownPort, "no endpoint has a port with this name"},
	{CodeNeverMatches, "a rule can never match"},
	{CodeNoDNS, "pods cannot reach their DNS servers"},
	{CodePeerMatchesNothing, "no endpoint or network set matches the peer of a rule"},
	{CodePolicyTooLarge, "the policies of a namespace exceed its budget"},
	{CodeReplaced, "another object takes precedence"},
	{CodeSelectsNothing, "a policy selects no endpoint"},
	{CodeServiceAddress, "a block covers only cluster addresses of Services, which policies never see"},
	{CodeServicePort, "a rule names the port of a Service instead of the port of its endpoints"},
	{CodeShadowedPolicy, "earlier rules decide everything that a policy matches"},
	{CodeShadowedRule, "earlier rules decide everything that a rule matches"},
	{CodeSkipped, "an object is skipped"},
	{CodeTranslated, "how an object of another system is interpreted"},
	{CodeTunnelsClosed, "a host endpoint blocks tunnels between nodes"},
	{CodeUnknownField, "a field is unknown"},
	{CodeUnknownService, "a rule names a Service that does not exist"},
	{CodeUnknownServiceAccount, "a rule names a service account that does not exist"},
	{CodeUnreadable, "a file holds something that an API server would reject"},
	{CodeUntrackedReplies, "replies to traffic that an untracked rule allows are denied"},
	{CodeUntrackedWildcard, "an untracked policy also applies to packets of pods"},
	{CodeUntranslated, "part of an object of another system has no exact equivalent"},
	{CodeWildcardDeniesDNS, "a policy of a host endpoint * denies DNS queries of pods"},
	{CodeWildcardMeetsPods, "a policy of a host endpoint * denies packets of pods"},
}

// ParseCodes reads a list of codes that are separated by commas and may be ignored.
// refused is the reason why another one is not; empty if there is none.
func ParseCodes(text string) (codes []string, refused string) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
		case word == CodeInvalid || word == CodeUnreadable:
			refused = "findings with code " + word + " cannot be ignored: correct the object instead"
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
