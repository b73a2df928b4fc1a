import java.util.List;
import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.api.AvailabilityApi;
import org.openapitools.client.api.PoolsApi;
import org.openapitools.client.api.ReservationsApi;
import org.openapitools.client.model.*;

/** The generated Java client against a server: a pool, a reservation, its release, a search, a refusal. */
public class Smoke {
    public static void main(String[] arguments) throws Exception {
        String url = arguments[0], planner = arguments[1], checkout = arguments[2];
        PoolsApi pools = new PoolsApi(client(url, planner));
        Map<String, Long> limits = Map.of("orders", 2L, "crates", 30L);
        PoolSpec spec = new PoolSpec().limits(limits).areas(List.of("SG-01")).labels(Map.of("fleet", "van"));
        Pool pool = pools.definePool("java", spec, null, null, null, null);
        is(pool.getVersion() == 1 && pool.getRemaining().equals(limits), pool);
        pool = pools.getPool("java", true);
        is(pool.getMode() == Mode.OPEN && pool.getWindow() == null, pool);

        ReservationsApi reservations = new ReservationsApi(client(url, checkout));
        Reserve reserve = new Reserve().pool("java").demand(Map.of("orders", 1L, "crates", 4L)).holdTtlMs(60_000L);
        Reservation held = reservations.reserve(reserve, "order-1", null);
        is(held.getStatus() == Status.HELD && held.getHoldUntil() != null && held.getProof().getSeq() > 0, held);
        ApiResponse<Reservation> again = reservations.reserveWithHttpInfo(reserve, "order-1", null);
        is(again.getData().getReservation().equals(held.getReservation()), again.getData());
        is(again.getHeaders().get("idempotent-replayed").equals(List.of("true")), again.getHeaders());
        is(reservations.confirm(held.getReservation(), null, null).getStatus() == Status.CONFIRMED, held);

        AvailabilityApi availability = new AvailabilityApi(client(url, checkout));
        AvailabilityQuery query = new AvailabilityQuery().areas(List.of("SG-01")).demand(Map.of("orders", 2L));
        Pools found = availability.availability(true, query);
        is(found.getPools().stream().noneMatch(some -> some.getPool().equals("java")) && found.getNext() == null, found);

        is(reservations.release(held.getReservation(), null, null).getStatus() == End.RELEASED, held);
        try {
            reservations.reserve(new Reserve().pool("java").demand(Map.of("orders", 3L)), null, null);
            throw new AssertionError("three orders do not fit");
        } catch (ApiException refused) {
            Problem problem = ApiClient.createDefaultObjectMapper().readValue(refused.getResponseBody(), Problem.class);
            is(refused.getCode() == 409 && problem.getCode().equals("over_limit"), problem);
            is(problem.getOutcome() == Effect.NOT_APPLIED && problem.getDimension().equals("orders"), problem);
            is(problem.getRemaining().equals(limits), problem);
        }
        System.out.println("the generated Java client works");
    }

    private static ApiClient client(String url, String token) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(url);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
        return client;
    }

    private static void is(boolean right, Object seen) {
        if (!right) {
            throw new AssertionError(seen);
        }
    }
}
