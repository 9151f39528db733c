-- log: keep lines that attempts logged, each fenced by its token. An attempt that has just ended may
-- still bring its last ones.
--
-- KEYS  job_  HASH  by job: `log:<attempt>`
-- ARGV  rest...  job, token, attempt, bytes that are there already, lines
-- Returns how many were accepted. Repeated, nothing is written twice.
local accepted = 0
for i = rest, #ARGV, 5 do
  local key, token, field = job_ .. ARGV[i], ARGV[i + 1], 'log:' .. ARGV[i + 2]
  local row = redis.call('HMGET', key, 'token', field)
  local there = row[2] or ''
  if (row[1] == token or row[1] == '-' .. token) and #there == tonumber(ARGV[i + 3]) then
    redis.call('HSET', key, field, there .. ARGV[i + 4])
    accepted = accepted + 1
  end
end
return accepted
