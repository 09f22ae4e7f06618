--[[ Take or renew the right to poll. The lease saves work; the fence in the commit keeps safe.

KEYS[1] lease  hash  number, holder, until (us)
KEYS[2] meta   hash  fence: the highest number that ever committed
ARGV    holder, now (us), time to live (us; 0 gives the lease back), us ahead beyond which an end is not
        believed (0: every end is): it was written before the server's clock was set back

Returns {number, 0} to the holder, {0, us until it may be free} to anybody else. ]]

local holder, now, ttl, far = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = redis.call('HMGET', KEYS[1], 'number', 'holder', 'until')
local number, owner, ends = tonumber(lease[1] or 0), lease[2], tonumber(lease[3] or 0)
if owner == holder then
  if ttl == 0 then
    redis.call('HSET', KEYS[1], 'until', 0, 'holder', '')
    return {0, 0}
  end
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ttl))
  return {number, 0}
end
if ttl == 0 then return {0, 0} end
if owner and ends > now and (far == 0 or ends - now <= far) then return {0, ends - now} end
local committed = tonumber(redis.call('HGET', KEYS[2], 'fence') or 0)
number = math.max(number, committed) + 1
redis.call('HSET', KEYS[1], 'number', number, 'holder', holder, 'until', string.format('%.0f', now + ttl))
return {number, 0}
