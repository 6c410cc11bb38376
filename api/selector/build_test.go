package selector

// Contains returns key contains 'part'.
func Contains(key, part string) *Selector { return one(opContains, false, key, part) }

// StartsWith returns key starts with 'prefix'.
func StartsWith(key, prefix string) *Selector { return one(opStarts, false, key, prefix) }

// EndsWith returns key ends with 'suffix'.
func EndsWith(key, suffix string) *Selector { return one(opEnds, false, key, suffix) }
