package admin

import (
	"context"
	"errors"
	"fmt"
	"path"

	"connectrpc.com/connect"

	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// mayLogin is to let others in. Only who the kernel speaks for has it: a session that
// could make the next would never end.
const mayLogin Right = "login"

// rights are what a caller of each method needs. A method that is not here is refused
// to everybody.
var rights = map[string]Right{
	adminv1connect.AdminServiceApplyProcedure:           MayApply,
	adminv1connect.AdminServiceDeleteProcedure:          MayApply,
	adminv1connect.AdminServiceListProcedure:            MayView,
	adminv1connect.AdminServiceListEndpointsProcedure:   MayView,
	adminv1connect.AdminServiceListRoutesProcedure:      MayView,
	adminv1connect.AdminServiceExplainCallProcedure:     MayView,
	adminv1connect.AdminServiceGetGraphProcedure:        MayView,
	adminv1connect.AdminServiceGetServiceStatsProcedure: MayView,
	// For messages the method asks for MayPayload too.
	adminv1connect.AdminServiceTapProcedure:          MayTap,
	adminv1connect.AdminServiceSetLogProcedure:       MayApply,
	adminv1connect.AdminServiceListCommandsProcedure: MayView,
	adminv1connect.AdminServiceListHistoryProcedure:  MayView,
	adminv1connect.AdminServiceRollBackProcedure:     MayApply,
	// Nobody is let in with rights that the caller has not.
	adminv1connect.AdminServiceCreateLoginProcedure: mayLogin,
	adminv1connect.AdminServiceGetStatusProcedure:   MayView,
	// A token makes identities: who has it can be a service.
	adminv1connect.AdminServiceCreateTokenProcedure:     MayApply,
	adminv1connect.AdminServiceListTokensProcedure:      MayView,
	adminv1connect.AdminServiceRevokeTokenProcedure:     MayApply,
	adminv1connect.AdminServiceGetAuthorityProcedure:    MayView,
	adminv1connect.AdminServiceRotateAuthorityProcedure: MayApply,
	adminv1connect.AdminServiceListIdentitiesProcedure:  MayView,
	adminv1connect.AdminServiceAuthorizeProcedure:       MayView,
	adminv1connect.AdminServiceSuggestPolicyProcedure:   MayView,
}

// permit refuses what the caller may not. Its errors are connect's.
func permit(ctx context.Context, procedure string) error {
	caller, ok := CallerFrom(ctx)
	if !ok {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("nobody says who asks"))
	}
	need, known := rights[procedure]
	if !known {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("nobody may call %s: it has no entry in the table of rights", path.Base(procedure)))
	}
	if !caller.Can(need) {
		return connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("%s may not call %s, which needs the right %q: make a login that has it ('xdsserver dashboard --may')",
				caller.Name, path.Base(procedure), need))
	}
	return nil
}

// gate asks permit before each method.
type gate struct{}

var _ connect.Interceptor = gate{}

// WrapUnary implements connect.Interceptor.
func (gate) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if err := permit(ctx, r.Spec().Procedure); err != nil {
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor; the gate is a server's.
func (gate) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (gate) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := permit(ctx, conn.Spec().Procedure); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}
