//go:build !linux

package iptables

import "errors"

// errNoLinux says that only Linux has ipsets. Render works everywhere.
var errNoLinux = errors.New("there are no ipsets here: want Linux")

type setSocket struct{}

func (*setSocket) close() error { return nil }

func (commandKernel) sets() (map[string]*ipset, error)     { return nil, errNoLinux }
func (commandKernel) createSet(*ipset) error               { return errNoLinux }
func (commandKernel) changeSet(*ipset, []elem, bool) error { return errNoLinux }
func (commandKernel) settle()                              {}
func (commandKernel) destroySet(string) error              { return errNoLinux }

func hasNFTables() bool { return false }
