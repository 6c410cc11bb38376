// Package convert turns API objects into the values of package model, and
// checks them on the way.
//
// It takes the kinds that the core uses (core Pod, Namespace, Node and
// ServiceAccount, EndpointSlice, native NetworkPolicy, ClusterNetworkPolicy and
// the Tierwall kinds, of NodeReports the node's links) as they come from an API server or from a file. Files are
// checked by nobody else, so everything that an API server would refuse is
// checked here, and the defaults that it would fill in are filled in here.
//
// One rule stands above all others: nothing invalid widens access. A rule with
// anything wrong in it is replaced as a whole: an Allow or Log rule by one that
// matches nothing, a Deny or Pass rule by one that denies everything in its
// direction. A policy whose scope cannot be understood selects all that the
// understood parts of its scope leave, keeps its Deny rules, and allows and
// passes nothing. Each such replacement is reported as a model.Problem with the
// path of the field at fault; all problems of an object are reported, not only
// the first.
//
// The package is pure: no I/O, no clocks, no state. Values that it returns
// share maps with the objects that went in, so neither may be changed afterwards.
package convert
