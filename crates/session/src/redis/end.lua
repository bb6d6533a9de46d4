-- Ends a session, frees its name and, if it existed, notifies all instances.
-- KEYS  1 session  2 name  3 sessions of the user
-- ARGV  1 sid  2 channel; empty in a cluster, where a script cannot publish in another slot
-- Reply 1; 0 if the session was gone.
local ended = redis.call('DEL', KEYS[1])
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
redis.call('ZREM', KEYS[3], ARGV[1])
if ended == 1 and ARGV[2] ~= '' then
  redis.call('PUBLISH', ARGV[2], ARGV[1])
end
return ended
