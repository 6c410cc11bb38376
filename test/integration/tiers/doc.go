// Package tiers tests against a real API server who may write policies in which
// tier: the admission policies of config/admission, the roles of config/rbac, and
// controllers/tiers, which lets a tier go when its last policy has gone.
package tiers
