// Package oracle says a second time, in the plainest way, what Tierwall's
// policies mean. Tests hold the engine to it.
//
// A World is a list of API objects. Decide follows one connection attempt
// through it by linear scans, section by section of the design, without the
// selector language, the conversion, the index or the evaluator of the core: it
// shares with them only the API types and the result type (model.Decision), so
// that a mistake has to be made twice, in two shapes, to go unseen.
//
// Cilium and Calico do the same for the policies of these systems, from their own objects
// and documentation: they hold what is read of Calico's manifests and what is converted
// of Cilium's. Foreign makes their worlds.
//
// Random makes streams of small and nasty worlds: few names, few labels and few
// addresses, so that everything collides. The package's own tests feed these
// streams to the engine event by event and compare; test/cyclonus compares
// both with a third implementation of native policies.
package oracle
