// Package page serves the page and its queries over HTTP.
//
//	GET  /                  the page: files of package ui
//	GET  /ui/v1/info        what is shown, and how many of each
//	GET  /ui/v1/board       view.Board
//	GET  /ui/v1/map         view.Map
//	POST /ui/v1/explain     view.Question → view.Answer
//	POST /ui/v1/whatif      WhatIfQuestion → view.WhatIf
//	POST /ui/v1/reload      reads the objects anew → Info
//	     /flows/v1/…        the handler of records
//
// Every query needs the run's token as a bearer token; the page itself holds nothing worth
// a token. Errors are Status objects, as the API server's are.
package page
