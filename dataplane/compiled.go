package dataplane

import (
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Compiled is an effective policy as programs, one for each stage, direction
// and family that has policies, and always one for the endpoint's own stage.
type Compiled struct {
	Effective *index.Effective
	Programs  []StageProgram
}

// StageProgram is a program and what it is for.
type StageProgram struct {
	Stage     model.Stage
	Direction model.Direction
	Program   *Program
}

// Program returns the program of a stage, or nil if the effective policy has none there.
func (c *Compiled) Program(s model.Stage, dir model.Direction, f Family) *Program {
	for _, p := range c.Programs {
		if p.Stage == s && p.Direction == dir && p.Program.Family == f {
			return p.Program
		}
	}
	return nil
}

// Endpoint is a local endpoint and its programs.
type Endpoint struct {
	*index.LocalEndpoint
	Policy *Compiled
}
