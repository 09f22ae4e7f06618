--[[ Give a claim a new end, before an attempt that had to wait for its turn.

KEYS[1] lanes:SINK  zset  see claim.lua
ARGV    lane key, token, now (us), us until the claim ends

Returns the new token, or '' where the claim was lost. ]]

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or string.format('%.0f', tonumber(score)) ~= ARGV[2] then return '' end
local token = tonumber(ARGV[3]) + tonumber(ARGV[4])
if token % 2 == 0 then token = token + 1 end
local text = string.format('%.0f', token)
redis.call('ZADD', KEYS[1], text, ARGV[1])
return text
