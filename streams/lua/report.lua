-- report: progress of a running attempt, fenced by its token.
--
-- uses  ledger
-- KEYS  job_     HASH  by job
-- ARGV  rest...  job, token, fraction (0 to 1, or empty), note
-- Returns how many were accepted.
local accepted = 0
for i = rest, #ARGV, 4 do
  local id, token, fraction, note = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local row, job = redis.call('HMGET', job_ .. id, 'lease', 'state', 'lane'), {}
  if row[1] then read_lease(row[1], job) end
  if job.token == token and row[2] == 'active' then
    redis.call('HSET', job_ .. id, 'progress', fraction, 'note', note)
    event('progress', id, row[3], 'active', job.attempt, 'fraction=' .. fraction .. '\tnote=' .. note)
    accepted = accepted + 1
  end
end
close()
return accepted
