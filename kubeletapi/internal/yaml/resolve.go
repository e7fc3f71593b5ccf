package yaml

import (
	"regexp"
	"strings"
)

var (
	// jsonNumber is what JSON takes for a number, with a small exponent. Its
	// submatch is the number without exponent.
	jsonNumber = regexp.MustCompile(`^(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:[eE][-+]?[0-9]{1,2})?$`)

	// anyNumber is what any YAML reader takes for a number once underscores are
	// removed: with or without fraction and exponent, in base 60, 16, 8 and 2.
	anyNumber = regexp.MustCompile(`^[-+]?(?:` +
		`(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|` +
		`[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?|` +
		`0[xX][0-9a-fA-F]+|0[oO][-+]?[0-7]+|0[bB][-+]?[01]+)$`)

	// anyDate is how every date begins that YAML 1.1 takes for one.
	anyDate = regexp.MustCompile(`^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:$|(?:[Tt]|[ \t]+)[0-9])`)
)

// maxDigits is how many digits of a decimal number survive in a float64.
const maxDigits = 15

// resolve returns the JSON of a plain scalar, or "" if it is a string. When
// readers could disagree, doubt tells how.
func resolve(text string) (json, doubt string) {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return "null", ""
	case "true", "True", "TRUE":
		return "true", ""
	case "false", "False", "FALSE":
		return "false", ""
	case "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO",
		"on", "On", "ON", "off", "Off", "OFF":
		return "", `"` + text + `" could be read as a boolean, which is written true or false`
	case "<<", "=":
		return "", `"` + text + `" has a meaning of its own to some readers`
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
		".nan", ".NaN", ".NAN":
		return "", ".inf and .nan are numbers to some readers, and JSON has no such numbers"
	}
	switch {
	case strings.IndexByte("0123456789+-.", text[0]) < 0:
		return "", ""
	case exact(text):
		return text, ""
	case anyNumber.MatchString(strings.ReplaceAll(text, "_", "")):
		return "", "a number that is not written as in JSON, or has over 15 digits, is read in several ways"
	case anyDate.MatchString(text):
		return "", "a date could be read as a time or as a string"
	}
	return "", ""
}

// exact tells whether text is a JSON number that every reader gives the same
// value. JSON's -0 is 0 to some.
func exact(text string) bool {
	m := jsonNumber.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	digits := strings.TrimPrefix(strings.Replace(m[1], ".", "", 1), "-")
	zero := strings.Trim(digits, "0") == ""
	return len(digits) <= maxDigits && !(zero && text[0] == '-')
}
