// SPDX-License-Identifier: Apache-2.0

// The agent around rocketmq-client-go: the same control socket and the same operations as the Java agent.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type args map[string]interface{}

type op func(args) (interface{}, error)

// A started client, known by the name that the scenario gave it.
type handle interface{ close() error }

var (
	ops     = map[string]op{}
	handles sync.Map
)

func main() {
	rlog.SetLogLevel("warn")
	primitive.PanicHandler = func(cause interface{}) { fmt.Fprintln(os.Stderr, "panic in the client:", cause) }
	registerProducers()
	registerTransactions()
	registerRequests()
	registerConsumers()
	ops["close"] = func(a args) (interface{}, error) {
		h, found := handles.LoadAndDelete(a.text("by"))
		if !found {
			return nil, fmt.Errorf("nothing named %s", a.text("by"))
		}
		return nil, h.(handle).close()
	}
	ops["close_all"] = func(a args) (interface{}, error) {
		closed := 0
		handles.Range(func(name, h interface{}) bool {
			if strings.HasPrefix(name.(string), a.text("prefix")) {
				handles.Delete(name)
				if err := h.(handle).close(); err != nil {
					fmt.Fprintln(os.Stderr, "closing", name, err)
				}
				closed++
			}
			return true
		})
		return closed, nil
	}
	ops["ops"] = func(args) (interface{}, error) {
		names := []string{}
		for name := range ops {
			names = append(names, name)
		}
		sort.Strings(names)
		return names, nil
	}
	listener, err := net.Listen("tcp", ":7070")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("agent ready")
	for {
		connection, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go serve(connection)
	}
}

func serve(connection net.Conn) {
	defer connection.Close()
	var writing sync.Mutex
	lines := bufio.NewScanner(connection)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var request struct {
			ID   int64  `json:"id"`
			Op   string `json:"op"`
			Args args   `json:"args"`
		}
		decoder := json.NewDecoder(strings.NewReader(lines.Text()))
		decoder.UseNumber()
		if err := decoder.Decode(&request); err != nil {
			fmt.Fprintln(os.Stderr, "bad request:", err)
			return
		}
		go func() {
			answer := map[string]interface{}{"id": request.ID}
			if result, err := perform(request.Op, request.Args); err != nil {
				answer["error"] = describe(err)
			} else {
				answer["ok"] = result
			}
			line, err := json.Marshal(answer)
			if err != nil {
				line, _ = json.Marshal(map[string]interface{}{"id": request.ID, "error": describe(err)})
			}
			writing.Lock()
			defer writing.Unlock()
			if _, err := connection.Write(append(line, '\n')); err != nil {
				fmt.Fprintln(os.Stderr, "answering:", err)
			}
		}()
	}
}

func perform(name string, a args) (result interface{}, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	run, known := ops[name]
	if !known {
		return nil, fmt.Errorf("unknown op %s", name)
	}
	return run(a)
}

// The client's error, and the response code that the server gave, if the client tells it.
func describe(err error) map[string]interface{} {
	out := map[string]interface{}{"type": fmt.Sprintf("%T", err), "text": err.Error()}
	var byValue primitive.MQBrokerErr
	var byPointer *primitive.MQBrokerErr
	if errors.As(err, &byValue) {
		out["code"], out["remark"] = byValue.ResponseCode, byValue.ErrorMessage
	} else if errors.As(err, &byPointer) {
		out["code"], out["remark"] = byPointer.ResponseCode, byPointer.ErrorMessage
	}
	return out
}

func (a args) has(key string) bool { return a[key] != nil }

func (a args) text(key string) string {
	value, found := a[key]
	if !found || value == nil {
		panic("missing argument " + key)
	}
	return fmt.Sprint(value)
}

func (a args) textOr(key, otherwise string) string {
	if a.has(key) {
		return a.text(key)
	}
	return otherwise
}

func (a args) number(key string, otherwise int64) int64 {
	if !a.has(key) {
		return otherwise
	}
	number, err := a[key].(json.Number).Int64()
	if err != nil {
		panic(key + ": " + err.Error())
	}
	return number
}

func (a args) flag(key string) bool {
	flag, _ := a[key].(bool)
	return flag
}

func (a args) list(key string) []interface{} {
	list, _ := a[key].([]interface{})
	return list
}

func (a args) object(key string) args {
	object, found := a[key].(map[string]interface{})
	if !found {
		return nil
	}
	return object
}

func named[T handle](a args) T {
	found, _ := handles.Load(a.text("by"))
	h, fits := found.(T)
	if !fits {
		panic(fmt.Sprintf("no %T named %s", h, a.text("by")))
	}
	return h
}
