//go:build !linux

package iptables

// netns is the network namespace that there is.
type netns struct{}

func currentNetns() (netns, error) { return netns{}, nil }

func (netns) close() error { return nil }

func (netns) do(f func() error) error { return f() }
