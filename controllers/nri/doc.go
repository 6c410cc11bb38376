// Package nri listens to the node's container runtime, as a plugin of its Node Resource
// Interface (containerd 2.1 and later).
//
// [Plugin] reports to package startup which pod sandboxes start and stop. The runtime
// waits for its answer before it creates the containers of a new sandbox: the answer is
// given when the policy of the pod is in force, or when the time that the runtime
// grants is nearly over. It changes nothing about containers.
//
// A node without such a runtime is not an error: the plugin periodically checks whether
// there is one, and reconnects whenever the connection is lost.
//
// The use of a sandbox's addresses is not handled here (package startup).
//
// A WebAssembly runtime (wazero) is linked with it and never runs. NRI's package api
// holds the messages and, in the same package, the generated host side of plugins in
// WebAssembly (api_host.pb.go), which only GOOS=wasip1 leaves out; stub needs api. What
// the linker keeps of wazero is package initialization.
package nri
