package reporter

import (
	"fmt"
	"math"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func TestGuards(t *testing.T) {
	modes := model.Guards{Link: model.GuardCount, Encapsulation: model.GuardOff}
	got := Guards(modes, map[model.GuardName]model.GuardPackets{
		model.GuardSourceName: {Dropped: 7, Counted: 3}, model.GuardDiscoveryName: {Counted: math.MaxUint64}, "unknown": {Dropped: 1},
	})
	want := map[string]v1alpha1.ReportedGuard{
		"source": {Mode: "Enforce", Dropped: 7, Counted: 3}, "link": {Mode: "Count"}, "encapsulation": {Mode: "Off"},
		"wildcard": {Mode: "Enforce"}, "discovery": {Mode: "Count", Counted: math.MaxInt64},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(got) > v1alpha1.MaxReportedGuards {
		t.Errorf("%d guards: the API has room for %d", len(got), v1alpha1.MaxReportedGuards)
	}
}
