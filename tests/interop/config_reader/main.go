// Reads configurations as the original does: with the parser of nats-server 2.9.24, which the Go server embeds.
//
// A line of standard input is a text as a JSON string. Its answer is a line: `ok` and the values as JSON, or `error`
// and the reason. A value is an array of its kind and itself, so that 1, 1.0 and "1" are told apart; text is in
// hexadecimal, since it need not be UTF-8.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
)

func describe(value interface{}) interface{} {
	switch v := value.(type) {
	case map[string]interface{}:
		entries := map[string]interface{}{}
		for key, inner := range v {
			entries[fmt.Sprintf("%x", key)] = describe(inner)
		}
		return []interface{}{"map", entries}
	case []interface{}:
		elements := []interface{}{}
		for _, inner := range v {
			elements = append(elements, describe(inner))
		}
		return []interface{}{"array", elements}
	case string:
		return []interface{}{"string", fmt.Sprintf("%x", v)}
	case int64:
		return []interface{}{"int", strconv.FormatInt(v, 10)}
	case float64:
		return []interface{}{"float", v}
	case bool:
		return []interface{}{"bool", v}
	case time.Time:
		return []interface{}{"date", v.Format(time.RFC3339)}
	}
	return []interface{}{"unexpected", fmt.Sprintf("%T", value)}
}

func answer(text string) (line string) {
	defer func() {
		if reason := recover(); reason != nil {
			line = fmt.Sprintf("error panic: %q", fmt.Sprint(reason))
		}
	}()
	values, err := conf.Parse(text)
	if err != nil {
		return fmt.Sprintf("error %q", err.Error())
	}
	written, err := json.Marshal(describe(values))
	if err != nil {
		return fmt.Sprintf("error %q", err.Error())
	}
	return "ok " + string(written)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		var text string
		if err := json.Unmarshal(lines.Bytes(), &text); err != nil {
			panic(err)
		}
		fmt.Fprintln(out, answer(text))
	}
}
