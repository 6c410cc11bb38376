// Package image writes container images as archives that a container runtime
// can import, without Docker, a registry or a base image: one layer, made of
// files of this machine. It knows the images of the test cluster: the pause
// container, agnhost (the server and client of the upstream suites) and
// Tierwall itself.
//
// An archive is the same, byte for byte, whenever its files are.
package image
