// Package tiers delays the deletion of a tier until no policy is in it any more.
//
// Every tier except the built-in ones has a finalizer. A deleted tier that contains
// policies stays, with a condition Deleting that names them, until they have been
// deleted or moved to another tier. Otherwise the policies of a deleted tier would at
// once be evaluated after all others, in a tier that denies by default.
//
// It creates no tiers (controllers/operator creates the built-in ones, users the
// others). The API server itself checks who may write policies in a tier, and that
// built-in tiers cannot be deleted (config/admission).
package tiers
