package suites

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// ginkgoSuite is the part of a suite's report that counts here; a report of
// Kubernetes' e2e has thousands of specs that were skipped.
type ginkgoSuite struct {
	SuiteDescription           string
	SpecialSuiteFailureReasons []string
	RunTime                    time.Duration
	SpecReports                []ginkgoSpec
}

type ginkgoSpec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            types.NodeType
	LeafNodeText            string
	State                   types.SpecState
	RunTime                 time.Duration
	Failure                 types.Failure
}

// name is what --focus matches, without the suite's description.
func (s ginkgoSpec) name() string {
	return strings.Join(append(s.ContainerHierarchyTexts[:len(s.ContainerHierarchyTexts):len(s.ContainerHierarchyTexts)], s.LeafNodeText), " ")
}

// parseGinkgo reads the JSON report of Ginkgo. Of nodes that are no specs (those
// before and after a suite) only failures count. An interrupted spec failed.
func parseGinkgo(in io.Reader) (Report, error) {
	var suites []ginkgoSuite
	if err := json.NewDecoder(in).Decode(&suites); err != nil {
		return Report{}, fmt.Errorf("report of ginkgo: %w", err)
	}
	if len(suites) != 1 {
		return Report{}, fmt.Errorf("report of ginkgo: it has %d suites: want one", len(suites))
	}
	suite := suites[0]
	r := Report{Time: suite.RunTime}
	for _, reason := range suite.SpecialSuiteFailureReasons {
		r.Outside = append(r.Outside, suite.SuiteDescription+": "+reason)
	}
	for _, s := range suite.SpecReports {
		if s.LeafNodeType != types.NodeTypeIt {
			if s.State.Is(types.SpecStateFailureStates) {
				r.Outside = append(r.Outside, strings.TrimSpace(s.LeafNodeType.String()+" "+s.LeafNodeText)+": "+firstLine(s.Failure.Message))
			}
			continue
		}
		c := Case{Name: s.name(), Time: s.RunTime}
		switch {
		case s.State.Is(types.SpecStatePassed):
			c.State = Passed
		case s.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			c.State = Skipped
		default:
			c.State, c.Message = Failed, lastLines(s.Failure.Message, messageLines)
		}
		r.Cases = append(r.Cases, c)
	}
	return r, nil
}
