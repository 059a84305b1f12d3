// A worker of the queue "payment" in Go, written from docs/wire-format.md alone; its rules are cited by number.
// It handles one command at a time, so no command and its undo run at once (rule 4).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type headers map[string]string

// The inbox of rule 3, in memory: the reply of an effect by effect key and direction. A real worker keeps it in its
// database and writes an entry in the same transaction as the effect, so that a crash between the two is impossible.
type worker struct {
	namespace string
	inbox     map[string]json.RawMessage
}

func main() {
	namespace, queue := env("SAGALINE_NAMESPACE", "sagaline"), "payment"
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(env("SAGALINE_BROKERS", "127.0.0.1:9092"), ",")...),
		kgo.ConsumerGroup(namespace+".worker."+queue), kgo.ConsumeTopics(namespace+".commands."+queue),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(10*time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	self := &worker{namespace, map[string]json.RawMessage{}}
	for ctx.Err() == nil {
		fetches, read := client.PollRecords(ctx, 100), time.Now()
		fetches.EachError(func(topic string, partition int32, err error) { log.Println(topic, partition, err) })
		for _, command := range fetches.Records() {
			for _, record := range self.answers(command, read) { // one by one: a reply comes before what it forwards
				if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
					log.Fatal(err) // nothing is committed: the command is delivered again
				}
			}
		}
		if err := client.CommitRecords(context.Background(), fetches.Records()...); err != nil { // rule 1
			log.Println("commit:", err) // answered commands may come again: the inbox knows them
		}
		client.AllowRebalance()
	}
	client.Close()
}

// What is written about one command, in order.
func (w *worker) answers(command *kgo.Record, read time.Time) []*kgo.Record {
	h := headers{}
	for _, each := range command.Headers {
		h[each.Key] = string(each.Value)
	}
	if h["ce_id"] == "" {
		return []*kgo.Record{w.dead(command, "it is not a command: it has no ce_id")} // rule 8
	}
	kind, body := w.outcome(h, command.Value, read)
	partition, err := strconv.Atoi(h["ce_replypartition"])
	if h["ce_replytopic"] == "" || err != nil {
		if kind == "completed" {
			return nil
		}
		return []*kgo.Record{w.dead(command, kind+": "+string(body))} // rule 10
	}
	reply := w.record(h["ce_replytopic"], partition, command.Key, body, headers{
		"ce_id": h["ce_id"] + "/reply", "ce_type": "sagaline.reply." + kind, "ce_subject": h["ce_subject"],
		"ce_commandid": h["ce_id"], "ce_time": stamp(time.Now()), "traceparent": h["traceparent"]})
	if kind != "completed" || h["ce_slip"] == "" {
		return []*kgo.Record{reply}
	}
	onward, id := w.forward(h, command.Key, body, partition, read)
	if onward == nil {
		return []*kgo.Record{reply}
	}
	reply.Headers = append(reply.Headers, kgo.RecordHeader{Key: "ce_forwarded", Value: []byte(id)})
	return []*kgo.Record{reply, onward}
}

// The kind of reply and its value, from the inbox or from the handler.
func (w *worker) outcome(h headers, value []byte, read time.Time) (string, json.RawMessage) {
	written, timeErr := time.Parse(time.RFC3339Nano, h["ce_time"])
	deadline, err := strconv.ParseInt(h["ce_deadline"], 10, 64)
	if err == nil && timeErr == nil && time.Since(read) > time.UnixMilli(deadline).Sub(written) {
		return "failed", valueOf(map[string]any{"error": "its deadline passed while it waited"}) // rule 6
	}
	key := h["ce_effectkey"]
	if _, undone := w.inbox[key+" undo"]; undone && h["ce_direction"] == "do" {
		return "rejected", valueOf(map[string]any{"reason": "the step was undone before", "code": "fenced"}) // rule 4
	}
	if stored, found := w.inbox[key+" "+h["ce_direction"]]; found {
		return "completed", stored // rule 3
	}
	kind, reply := w.handle(h, value)
	if kind == "completed" {
		w.inbox[key+" "+h["ce_direction"]] = valueOf(reply)
	}
	return kind, valueOf(reply)
}

// The handlers, by contract.
func (w *worker) handle(h headers, value []byte) (string, map[string]any) {
	var command struct {
		OrderID  string `json:"order_id"`
		Customer string `json:"customer"`
	}
	if err := json.Unmarshal(value, &command); err != nil {
		return "failed", map[string]any{"error": "the command cannot be read: " + err.Error()} // rule 8
	}
	switch h["ce_type"] {
	case "charge-card":
		if strings.HasPrefix(command.Customer, "declined") {
			return "rejected", map[string]any{"reason": "the bank declined the card", "code": "card_declined"}
		}
		if strings.HasPrefix(command.Customer, "flaky") && h["ce_attempt"] == "1" {
			return "failed", map[string]any{"error": "the bank is not reachable"} // it is retried, never here
		}
		return "completed", map[string]any{"charge_id": "C-" + command.OrderID}
	case "refund-card":
		_, charged := w.inbox[h["ce_effectkey"]+" do"]
		return "completed", map[string]any{"was_charged": charged}
	}
	return "failed", map[string]any{"error": fmt.Sprintf("no handler for %q", h["ce_type"])} // rule 8
}

func (w *worker) record(topic string, partition int, key, value []byte, h headers) *kgo.Record {
	h["ce_specversion"], h["content-type"] = "1.0", "application/json"
	h["ce_source"] = "/" + w.namespace + "/workers/payment-go"
	record := &kgo.Record{Topic: topic, Partition: int32(partition), Key: key, Value: value}
	for name, text := range h {
		if text != "" {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(text)})
		}
	}
	return record
}

func (w *worker) dead(record *kgo.Record, reason string) *kgo.Record {
	letter := &kgo.Record{Topic: w.namespace + ".dead", Partition: record.Partition, Key: record.Key, Value: record.Value}
	letter.Headers = append(letter.Headers, record.Headers...)
	why := headers{"dead-reason": reason, "dead-topic": record.Topic,
		"dead-partition": strconv.Itoa(int(record.Partition)), "dead-offset": strconv.FormatInt(record.Offset, 10)}
	for name, text := range why {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: name, Value: []byte(text)})
	}
	return letter
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func valueOf(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	return text
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
