// Command program has a site of each kind of mutant.
package main

import (
	"fmt"
	"time"
)

type bits uint8

func main() {
	a, b, n := 7, 2, 0
	for i := uint8(0); i != 9; i++ { // every mutant ends: it wraps round
		if i == 2 {
			continue
		}
		if i > 4 {
			break
		}
		n += int(i)
	}
	fmt.Print(n, " ", !(a < b), " ", a > b && false, " ", bits(a)&5, " ", 3*time.Second, " ", [2]int{}, "x"+"y")
}
