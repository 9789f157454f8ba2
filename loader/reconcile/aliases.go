package reconcile

import "github.com/xdpallow/xdpallow/loader/api"

// This file keeps the old names of what package api has now, until nobody uses them.

type (
	CheckResult     = api.CheckResult
	Covering        = api.Covering
	Near            = api.Near
	Live            = api.Live
	CutResult       = api.CutResult
	Limit           = api.Limit
	LimitResult     = api.LimitResult
	Owner           = api.Owner
	Owners          = api.Owners
	SuspendResult   = api.SuspendResult
	Suspension      = api.Suspension
	Whose           = api.Whose
	Cut             = api.Cut
	CutPeer         = api.CutPeer
	Foreseen        = api.Foreseen
	Former          = api.Former
	Plan            = api.Plan
	Refusal         = api.Refusal
	ServiceChange   = api.ServiceChange
	AddRequest      = api.AddRequest
	Caller          = api.Caller
	ConfirmRequest  = api.ConfirmRequest
	CutRequest      = api.CutRequest
	DetachRequest   = api.DetachRequest
	ImportRequest   = api.ImportRequest
	LimitRequest    = api.LimitRequest
	ListRequest     = api.ListRequest
	ModeRequest     = api.ModeRequest
	ReloadRequest   = api.ReloadRequest
	RemoveRequest   = api.RemoveRequest
	ReplaceRequest  = api.ReplaceRequest
	RollbackRequest = api.RollbackRequest
	SuspendRequest  = api.SuspendRequest
	Backstop        = api.Backstop
	Change          = api.Change
	Counter         = api.Counter
	Daemon          = api.Daemon
	DetachResult    = api.DetachResult
	Entry           = api.Entry
	History         = api.History
	Interface       = api.Interface
	Listing         = api.Listing
	Modes           = api.Modes
	OriginStatus    = api.OriginStatus
	Problem         = api.Problem
	Service         = api.Service
	Stats           = api.Stats
	Status          = api.Status
	Still           = api.Still
	Waiting         = api.Waiting
)

const (
	DefaultKeepEnded = api.DefaultKeepEnded
	DefaultSeen      = api.DefaultSeen
	EveryService     = api.EveryService
	LeadsGuests      = api.LeadsGuests
	Never            = api.Never
	NoOwner          = api.NoOwner
	Soon             = api.Soon
)
