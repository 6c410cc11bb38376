package model

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestVerdictJSON: what is written is read again as it was.
func TestVerdictJSON(t *testing.T) {
	for _, v := range []Verdict{
		{Action: Allow, Direction: Egress, Stage: StageWorkload, Reason: ReasonRule, Tier: "a", Policy: Ref{Kind: KindGlobalNetworkPolicy, Name: "p"}, Rule: 3, RuleName: "x"},
		{Action: Deny, Direction: Ingress, Stage: StageHost, Reason: ReasonEndOfTier, Rule: RuleEndOfTier, Endpoint: Ref{Kind: KindPod, Namespace: "n", Name: "p"}},
		{Action: Allow, Direction: Ingress, Reason: ReasonDefault, Rule: RuleDefault, Audit: &Verdict{Action: Deny, Direction: Ingress, Rule: 0}},
	} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got Verdict
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s is read as %+v: %v", text, got, err)
		}
	}
}

func TestVerdictJSONOfOtherWords(t *testing.T) {
	for _, text := range []string{`{"rule":"-1"}`, `{"rule":"last"}`, `{"rule":""}`, `{"rule":"99999999999"}`, `{"direction":"Ingress"}`, `{"direction":""}`, `{"action":"allow"}`} {
		var v Verdict
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			t.Errorf("%s is read as %+v", text, v)
		}
	}
}
