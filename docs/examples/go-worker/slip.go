package main

import (
	"encoding/json"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type slip struct {
	Variables   map[string]json.RawMessage `json:"variables"`
	Into        *string                    `json:"into"`
	Revises     *string                    `json:"revises"`
	Ahead       []stop                     `json:"ahead"`
	Incarnation string                     `json:"incarnation"`
}

type stop struct {
	Place      string            `json:"place"`
	Contract   string            `json:"contract"`
	Queue      string            `json:"queue"`
	Attempt    int               `json:"attempt"`
	DeadlineMs int64             `json:"deadline_ms"`
	Takes      map[string]string `json:"takes"`
	Into       *string           `json:"into"`
	Revises    *string           `json:"revises"`
}

// The command of the next stop of a routing slip and its id; nil: the slip returns to the orchestrator.
func (w *worker) forward(h headers, key, reply []byte, partition int, read time.Time) (*kgo.Record, string) {
	var s slip
	var fields map[string]json.RawMessage
	written, err := time.Parse(time.RFC3339Nano, h["ce_time"])
	if err != nil || json.Unmarshal([]byte(h["ce_slip"]), &s) != nil || json.Unmarshal(reply, &fields) != nil {
		log.Println("the slip cannot be read, so it returns:", h["ce_id"])
		return nil, ""
	}
	if s.Revises != nil && fields[*s.Revises] != nil && string(fields[*s.Revises]) != "null" || len(s.Ahead) == 0 {
		return nil, ""
	}
	if s.Into != nil {
		s.Variables[*s.Into] = reply
	}
	next := s.Ahead[0]
	payload := map[string]json.RawMessage{}
	for field, path := range next.Takes {
		if value := find(s.Variables, strings.Split(path, ".")); value != nil {
			payload[field] = value
		}
	}
	s.Into, s.Revises, s.Ahead = next.Into, next.Revises, s.Ahead[1:]
	effect := h["ce_subject"] + "/" + next.Place + "~" + s.Incarnation
	id := effect + "/" + strconv.Itoa(next.Attempt)
	onward := headers{"ce_id": id, "ce_type": next.Contract, "ce_subject": h["ce_subject"], "ce_effectkey": effect,
		"ce_direction": "do", "ce_attempt": strconv.Itoa(next.Attempt), "ce_time": stamp(written.Add(time.Since(read))),
		"ce_deadline": strconv.FormatInt(next.DeadlineMs, 10), "ce_replytopic": h["ce_replytopic"],
		"ce_replypartition": h["ce_replypartition"], "traceparent": h["traceparent"]}
	if len(s.Ahead) > 0 {
		onward["ce_slip"] = string(valueOf(s))
	}
	return w.record(w.namespace+".commands."+next.Queue, partition, key, valueOf(payload), onward), id
}

func find(variables map[string]json.RawMessage, path []string) json.RawMessage {
	value := variables[path[0]]
	if len(path) == 1 || value == nil {
		return value
	}
	var inner map[string]json.RawMessage
	if json.Unmarshal(value, &inner) != nil {
		return nil
	}
	return find(inner, path[1:])
}
