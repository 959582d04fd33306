package main

import (
	"context"
	"maps"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
	"github.com/tulle-mesh/tulle/mesh"
)

// emojis is the whole catalogue.
var emojis = []*votev1.Emoji{
	{Name: "taco", Unicode: "🌮"},
	{Name: "rocket", Unicode: "🚀"},
	{Name: "tulip", Unicode: "🌷"},
	{Name: "thread", Unicode: "🧵"},
	{Name: "doughnut", Unicode: "🍩"},
}

type emojiService struct {
	votev1.UnimplementedEmojiServiceServer
}

func serveEmoji(ctx context.Context) error {
	return serve(ctx, nil, func(s grpc.ServiceRegistrar) {
		votev1.RegisterEmojiServiceServer(s, &emojiService{})
	})
}

func (*emojiService) List(context.Context, *votev1.ListRequest) (*votev1.ListResponse, error) {
	return &votev1.ListResponse{Emoji: emojis}, nil
}

func (*emojiService) Find(_ context.Context, req *votev1.FindRequest) (*votev1.FindResponse, error) {
	for _, e := range emojis {
		if e.GetName() == req.GetName() {
			return &votev1.FindResponse{Emoji: e}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no emoji is named %q", req.GetName())
}

type votingService struct {
	votev1.UnimplementedVotingServiceServer

	mu    sync.Mutex
	votes map[string]int64
}

func serveVoting(ctx context.Context) error {
	return serve(ctx, newTally("voting"), func(s grpc.ServiceRegistrar) {
		votev1.RegisterVotingServiceServer(s, &votingService{votes: map[string]int64{}})
	})
}

func (v *votingService) Vote(_ context.Context, req *votev1.VoteRequest) (*votev1.VoteResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.votes[req.GetName()]++
	return &votev1.VoteResponse{Votes: v.votes[req.GetName()]}, nil
}

func (v *votingService) Leaderboard(context.Context, *votev1.LeaderboardRequest) (*votev1.LeaderboardResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &votev1.LeaderboardResponse{Votes: maps.Clone(v.votes)}, nil
}

func (*votingService) VoteDoughnut(context.Context, *votev1.VoteDoughnutRequest) (*votev1.VoteDoughnutResponse, error) {
	return nil, status.Error(codes.Unknown, "the doughnut is broken, on purpose")
}

type webService struct {
	votev1.UnimplementedWebServiceServer

	emoji  votev1.EmojiServiceClient
	voting votev1.VotingServiceClient
}

func serveWeb(ctx context.Context) error {
	counted := newTally("web")
	emoji, err := mesh.NewClient("mesh:///emoji", counted.to("emoji"))
	if err != nil {
		return err
	}
	defer emoji.Close()
	voting, err := mesh.NewClient("mesh:///voting", counted.to("voting"))
	if err != nil {
		return err
	}
	defer voting.Close()
	return serve(ctx, counted, func(s grpc.ServiceRegistrar) {
		votev1.RegisterWebServiceServer(s, &webService{
			emoji:  votev1.NewEmojiServiceClient(emoji),
			voting: votev1.NewVotingServiceClient(voting),
		})
	})
}

func (w *webService) List(ctx context.Context, req *votev1.ListRequest) (*votev1.ListResponse, error) {
	return w.emoji.List(ctx, req)
}

func (w *webService) Vote(ctx context.Context, req *votev1.VoteRequest) (*votev1.VoteResponse, error) {
	if _, err := w.emoji.Find(ctx, &votev1.FindRequest{Name: req.GetName()}); err != nil {
		return nil, err
	}
	var header metadata.MD
	answer, err := w.voting.Vote(ctx, req, grpc.Header(&header))
	// For the grid: which instance counted the vote.
	if by := header.Get(byHeader); len(by) > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs(voterHeader, by[0]))
	}
	return answer, err
}

func (w *webService) Leaderboard(ctx context.Context, req *votev1.LeaderboardRequest) (*votev1.LeaderboardResponse, error) {
	return w.voting.Leaderboard(ctx, req)
}

func (w *webService) VoteDoughnut(ctx context.Context, req *votev1.VoteDoughnutRequest) (*votev1.VoteDoughnutResponse, error) {
	return w.voting.VoteDoughnut(ctx, req)
}
