package manifests

// FindFiles lists the manifests (*.yaml, *.yml, *.json) below a folder, sorted by
// path. Hidden files and folders are left out, links to files are followed. No
// files are no error; a folder, or a part of it, that cannot be read is.
func FindFiles(root string) ([]string, error) {
	var errs errorList
	files := findBelow(root, &errs)
	return files, errs.join()
}

// CompleteHost adds to objects what a host without a cluster needs: namespaces
// that objects live in and no file defines, and the automatic host endpoints if
// the Tierwall object asks for them. Unlike Complete it invents no pods and no
// addresses.
func (r *Result) CompleteHost() {
	r.completeNamespaces()
	r.completeHostEndpoints()
}
