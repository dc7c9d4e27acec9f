-- Takes one request from a merchant's rate (GCRA) and looks up a finished reply, in one round trip.
--
-- KEYS[1] when the merchant's requests so far are paid off, in microseconds
-- KEYS[2] the finished reply; left out when the request has no idempotency key
-- ARGV[1] microseconds that one request costs
-- ARGV[2] requests allowed at once
--
-- Answers {microseconds to wait, reply}: zero and the reply, if any, when the request is admitted.
--
-- The clock is that of Redis, the same for every instance.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local full = cost * tonumber(ARGV[2])

local paid = tonumber(redis.call('GET', KEYS[1])) or now
-- Not in the past, and not further off than a full burst: the clock may have been set back.
paid = math.min(math.max(paid, now), now + full)

local wait = paid + cost - full - now
if wait > 0 then
  return {wait, false}
end
-- A plain tostring would round the microseconds of today.
redis.call('SET', KEYS[1], string.format('%.0f', paid + cost), 'PX', math.ceil((paid + cost - now) / 1000))
return {0, KEYS[2] and redis.call('GET', KEYS[2]) or false}
