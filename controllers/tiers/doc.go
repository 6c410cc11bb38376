// Package tiers lets a tier go only when no policy is in it any more.
//
// Every tier but the built-in ones has a finalizer. Who deletes a tier that holds
// policies sees it stay, with a condition Deleting that names them, until they have
// been deleted or moved to another tier. Without this the policies of a deleted tier
// would at once be evaluated behind all others, in a tier that denies by default.
//
// What it does not do. It makes no tier (controllers/operator makes the built-in
// ones, people the others). Who may write policies in a tier, and that built-in tiers
// cannot be deleted, is checked by the API server (config/admission).
package tiers
